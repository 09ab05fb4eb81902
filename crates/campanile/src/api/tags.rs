//! Tags of meetings, which callers name by their ARN.

use campanile_meeting::ids::{AccountId, MeetingId};
use campanile_wire::api::{ListTagsResponse, Tag, TagsRequest, resource_arn};

use super::Call;
use super::errors::{Answer, ApiError, to_json};

/// ListTagsForResource.
pub(super) async fn list(call: Call<'_>) -> Result<Answer, ApiError> {
    let arn = resource_arn("ResourceARN", call.query("arn")?.map(str::to_owned))?;
    let (meeting, allowed) = (meeting_of(&call, &arn), call.allow_tags(&arn, &[])?);
    let meeting = meeting.ok_or_else(|| ApiError::resource_not_found(&arn))?;
    let tags = allowed
        .call(|registry, account| registry.meeting(account, meeting).map(|record| record.tags.clone()))
        .await?
        .map_err(|error| ApiError::from(error).on_resource(&arn))?;
    Ok(Answer::Json(to_json(&ListTagsResponse { tags })))
}

/// TagResource.
pub(super) async fn tag(call: Call<'_>) -> Result<Answer, ApiError> {
    let (arn, tags) = call.json::<TagsRequest>()?.check_tag()?;
    let (meeting, allowed) = (meeting_of(&call, &arn), call.allow_tags(&arn, &tags)?);
    let meeting = meeting.ok_or_else(|| ApiError::resource_not_found(&arn))?;
    allowed
        .call(|registry, account| registry.tag(account, meeting, tags))
        .await?
        .map_err(|error| ApiError::from(error).on_resource(&arn))?;
    Ok(Answer::Nothing)
}

/// UntagResource.
pub(super) async fn untag(call: Call<'_>) -> Result<Answer, ApiError> {
    let (arn, keys) = call.json::<TagsRequest>()?.check_untag()?;
    let named: Vec<_> = keys.iter().map(|key| Tag { key: key.clone(), value: String::new() }).collect();
    let (meeting, allowed) = (meeting_of(&call, &arn), call.allow_tags(&arn, &named)?);
    let meeting = meeting.ok_or_else(|| ApiError::resource_not_found(&arn))?;
    allowed
        .call(|registry, account| registry.untag(account, meeting, &keys))
        .await?
        .map_err(|error| ApiError::from(error).on_resource(&arn))?;
    Ok(Answer::Nothing)
}

/// The caller's own meeting that an ARN names, with our region or, as policies write it, without any.
fn meeting_of(call: &Call<'_>, arn: &str) -> Option<MeetingId> {
    let (region, account, meeting) = split(arn)?;
    let ours = region.is_empty() || region == call.state.site.region;
    (ours && account == call.account()).then_some(meeting)
}

/// Region, account and meeting of `arn:<partition>:chime:<region>:<account>:meeting/<id>`.
pub(super) fn split(arn: &str) -> Option<(&str, AccountId, MeetingId)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _partition, "chime", region, account, resource] = parts[..] else { return None };
    let meeting = resource.strip_prefix("meeting/")?;
    Some((region, account.parse().ok()?, meeting.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_a_meeting_or_nothing() {
        let id = "0f6d2c58-31b7-4e0a-9d14-7c2a55e92713";
        let check = |arn: String, region: Option<&str>| {
            assert_eq!(split(&arn).map(|(region, ..)| region), region, "{arn}");
        };
        check(format!("arn:aws:chime:us-east-1:111122223333:meeting/{id}"), Some("us-east-1"));
        check(format!("arn:aws:chime::111122223333:meeting/{id}"), Some(""));
        check(format!("arn:aws-us-gov:chime:x:111122223333:meeting/{id}"), Some("x"));
        check(format!("arn:aws:chime:us-east-1:1111:meeting/{id}"), None);
        check(format!("arn:aws:s3:us-east-1:111122223333:meeting/{id}"), None);
        check(format!("arn:aws:chime:us-east-1:111122223333:meeting:{id}"), None);
        check(format!("arn:aws:chime:us-east-1:111122223333:meeting/{id}/x"), None);
        check("arn:aws:chime:us-east-1:111122223333:media-pipeline/x".into(), None);
        check("arn:".into(), None);
    }
}
