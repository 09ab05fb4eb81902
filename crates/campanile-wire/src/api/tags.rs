//! Tags of meetings.

use serde::{Deserialize, Serialize};

use super::check::{Invalid, invalid, length, required};

/// Tags of one meeting, and of one request.
pub const TAGS_MAX: usize = 50;

/// A label on a meeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// Up to 256 characters.
    pub value: String,
}

/// The body of TagResource and UntagResource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TagsRequest {
    #[serde(rename = "ResourceARN")]
    resource_arn: Option<String>,
    tags: Option<Vec<Tag>>,
    tag_keys: Option<Vec<String>>,
}

impl TagsRequest {
    /// TagResource: the resource, and up to 50 tags for it, each key once.
    pub fn check_tag(self) -> Result<(String, Vec<Tag>), Invalid> {
        let arn = resource_arn("ResourceARN", self.resource_arn)?;
        Ok((arn, tags(required("Tags", self.tags)?)?))
    }

    /// UntagResource: the resource, and up to 50 keys.
    pub fn check_untag(self) -> Result<(String, Vec<String>), Invalid> {
        let arn = resource_arn("ResourceARN", self.resource_arn)?;
        let keys = required("TagKeys", self.tag_keys)?;
        if keys.len() > TAGS_MAX {
            return invalid(format!("TagKeys may have at most {TAGS_MAX} items"));
        }
        keys.iter().try_for_each(|key| tag_key("TagKeys", key))?;
        Ok((arn, keys))
    }
}

/// An ARN as the tags operations take it: 1 to 1011 characters that begin with `arn:`. Whether it names anything is
/// another question.
pub fn resource_arn(name: &str, arn: Option<String>) -> Result<String, Invalid> {
    let arn = required(name, arn)?;
    length(name, &arn, 1..=1011)?;
    if !arn.starts_with("arn:") {
        return invalid(format!(
            "{name} must be an ARN: arn:aws:chime:<region>:<account>:meeting/<MeetingId>"
        ));
    }
    Ok(arn)
}

/// In both of the model's patterns `+-=` is a range, from U+002B to U+003D: digits, comma, colon, slash and more.
fn in_tag_range(c: char) -> bool {
    ('+'..='=').contains(&c)
}

pub(super) fn tag_key(name: &str, key: &str) -> Result<(), Invalid> {
    length(name, key, 1..=128)?;
    if !key.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || in_tag_range(c)) {
        return invalid(format!("{name} may hold letters, digits and +-=._:/ only"));
    }
    Ok(())
}

pub(super) fn tags(tags: Vec<Tag>) -> Result<Vec<Tag>, Invalid> {
    if tags.len() > TAGS_MAX {
        return invalid(format!("Tags may have at most {TAGS_MAX} items"));
    }
    for (place, tag) in tags.iter().enumerate() {
        tag_key("Tags.Key", &tag.key)?;
        length("Tags.Value", &tag.value, 0..=256)?;
        let in_value = |c: char| {
            c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_@\u{b}".contains(c) || in_tag_range(c)
        };
        if !tag.value.chars().all(in_value) {
            return invalid("Tags.Value may hold letters, digits, spaces and +-=._:/@ only");
        }
        if tags[..place].iter().any(|earlier| earlier.key == tag.key) {
            return invalid("Tags may name each key only once");
        }
    }
    Ok(tags)
}

/// The answer of ListTagsForResource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsResponse {
    /// All of them.
    pub tags: Vec<Tag>,
}
