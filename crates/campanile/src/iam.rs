//! Policies in AWS's own JSON, and what they decide: who may do what to which meeting.
//!
//! A call is allowed when some statement allows it and none denies it. Whatever a policy says that cannot be known here
//! never grants: an unknown condition key or operator makes an `Allow` useless, and a `Deny` deny. Elements that would
//! change the meaning of a policy and are not evaluated (policy variables, `NotPrincipal`) are refused when it is read.
//!
//! Left to others: who the caller is (`sigv4`, `directory`), which resource and tags a call concerns (`api`).

use serde::Deserialize;
use serde_json::{Map, Value};

/// Condition keys whose values are known for every call, in lower case; the tag keys come with a name behind them.
const KNOWN_KEYS: [&str; 4] =
    ["aws:tagkeys", "aws:principalarn", "aws:principalaccount", "aws:requestedregion"];
const RESOURCE_TAG: &str = "aws:resourcetag/";
const REQUEST_TAG: &str = "aws:requesttag/";

/// Actions of the managed policy `AmazonChimeSDK`, version 5 of January 2023. As AWS's own, it does not allow the two
/// operations that change capabilities.
const AMAZON_CHIME_SDK: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*","Action":[
"chime:CreateMeeting","chime:CreateMeetingWithAttendees","chime:DeleteMeeting","chime:GetMeeting","chime:ListMeetings",
"chime:CreateAttendee","chime:BatchCreateAttendee","chime:DeleteAttendee","chime:GetAttendee","chime:ListAttendees",
"chime:ListAttendeeTags","chime:ListMeetingTags","chime:ListTagsForResource","chime:TagAttendee","chime:TagMeeting",
"chime:TagResource","chime:UntagAttendee","chime:UntagMeeting","chime:UntagResource",
"chime:StartMeetingTranscription","chime:StopMeetingTranscription",
"chime:CreateMediaCapturePipeline","chime:CreateMediaConcatenationPipeline","chime:CreateMediaLiveConnectorPipeline",
"chime:DeleteMediaCapturePipeline","chime:DeleteMediaPipeline","chime:GetMediaCapturePipeline","chime:GetMediaPipeline",
"chime:ListMediaCapturePipelines","chime:ListMediaPipelines"]}}"#;
const ADMINISTRATOR: &str = r#"{"Statement":{"Effect":"Allow","Resource":"*","Action":"*"}}"#;

/// Why a text is no policy that can be evaluated, for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAPolicy(String);

/// What is asked: may this be done to that, by whom, under which circumstances?
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `chime:GetMeeting`.
    pub action: &'a str,
    /// The resource, in each form that policies may name it by.
    pub resources: Vec<String>,
    /// Tags that the resource has.
    pub resource_tags: Vec<(String, String)>,
    /// Tags that the request brings; keys alone have an empty value.
    pub request_tags: Vec<(String, String)>,
    /// Who asks.
    pub principal_arn: &'a str,
    /// The account they belong to.
    pub account: String,
    /// The control region.
    pub region: &'a str,
}

/// What a set of policies says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Some statement allows it, none denies it.
    Allowed,
    /// A statement denies it, whatever others say.
    ExplicitlyDenied,
    /// No statement allows it.
    NotAllowed,
}

/// What `policies` together say.
pub fn decide<'p>(policies: impl IntoIterator<Item = &'p Policy>, question: &Question<'_>) -> Decision {
    let mut decision = Decision::NotAllowed;
    for statement in policies.into_iter().flat_map(|policy| &policy.statements) {
        match statement.effect {
            Effect::Deny if statement.may_apply(question) => return Decision::ExplicitlyDenied,
            Effect::Allow if statement.surely_applies(question) => decision = Decision::Allowed,
            Effect::Allow | Effect::Deny => {}
        }
    }
    decision
}

/// A policy that was read and can be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Matcher,
    /// Absent from trust policies, which belong to their resource.
    resources: Option<Matcher>,
    /// In trust policies only.
    principals: Option<Vec<String>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    patterns: Vec<String>,
    /// `NotAction`, `NotResource`.
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    /// `None`: an operator that is not known here.
    test: Option<Test>,
    /// In lower case.
    key: String,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Test {
    operator: Operator,
    negated: bool,
    quantifier: Quantifier,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equals,
    EqualsIgnoreCase,
    Like,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    One,
    Any,
    All,
}

impl Policy {
    /// Reads a policy that is attached to a user or role, or comes with AssumeRole.
    pub fn parse(json: &str) -> Result<Policy, NotAPolicy> {
        Policy::read(json, false)
    }

    /// Reads a role's trust policy: who may assume it.
    pub fn parse_trust(json: &str) -> Result<Policy, NotAPolicy> {
        Policy::read(json, true)
    }

    /// A policy that is built in, by its name or its ARN.
    pub fn managed(name: &str) -> Option<Policy> {
        let text = match name.strip_prefix("arn:aws:iam::aws:policy/").unwrap_or(name) {
            "AmazonChimeSDK" => AMAZON_CHIME_SDK,
            "AdministratorAccess" => ADMINISTRATOR,
            _ => return None,
        };
        Some(Policy::parse(text).expect("built in"))
    }

    /// Whether evaluation looks at the tags of resources.
    pub fn looks_at_resource_tags(&self) -> bool {
        let conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
        conditions.into_iter().any(|condition| condition.key.starts_with(RESOURCE_TAG))
    }

    fn read(json: &str, trust: bool) -> Result<Policy, NotAPolicy> {
        let not = |error: serde_json::Error| NotAPolicy(format!("not a policy: {error}"));
        let document: Document = serde_json::from_str(json).map_err(not)?;
        let statements = match document.statement {
            Value::Array(statements) => statements,
            one => vec![one],
        };
        let read = |value| Statement::read(serde_json::from_value(value).map_err(not)?, trust);
        Ok(Policy { statements: statements.into_iter().map(read).collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "Version")]
    _version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RawStatement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: Option<Value>,
    not_action: Option<Value>,
    resource: Option<Value>,
    not_resource: Option<Value>,
    principal: Option<Value>,
    #[serde(default)]
    condition: Map<String, Value>,
}

impl Statement {
    fn read(raw: RawStatement, trust: bool) -> Result<Statement, NotAPolicy> {
        let actions = matcher("Action", raw.action, raw.not_action)?
            .ok_or_else(|| NotAPolicy("a statement needs Action or NotAction".into()))?;
        let resources = matcher("Resource", raw.resource, raw.not_resource)?;
        let principals = raw.principal.map(principals).transpose()?;
        if trust && (resources.is_some() || principals.is_none()) {
            return Err(NotAPolicy("a statement of a trust policy has Principal and no Resource".into()));
        }
        if !trust && (resources.is_none() || principals.is_some()) {
            return Err(NotAPolicy("a statement needs Resource or NotResource, and no Principal".into()));
        }
        let mut conditions = Vec::new();
        for (operator, tests) in raw.condition {
            let Value::Object(tests) = tests else {
                return Err(NotAPolicy(format!("Condition: {operator} must hold keys and values")));
            };
            for (key, values) in tests {
                conditions.push(Condition {
                    test: Test::parse(&operator),
                    key: key.to_lowercase(),
                    values: texts("Condition", values)?,
                });
            }
        }
        Ok(Statement { effect: raw.effect, actions, resources, principals, conditions })
    }

    /// For a grant: everything is known to hold.
    fn surely_applies(&self, question: &Question<'_>) -> bool {
        self.concerns(question) && self.conditions.iter().all(|c| c.holds(question) == Some(true))
    }

    /// For a denial: nothing is known not to hold.
    fn may_apply(&self, question: &Question<'_>) -> bool {
        self.concerns(question) && self.conditions.iter().all(|c| c.holds(question) != Some(false))
    }

    fn concerns(&self, question: &Question<'_>) -> bool {
        let action = question.action.to_lowercase();
        self.actions.matches(|pattern| glob(&pattern.to_lowercase(), &action))
            && self.resources.as_ref().is_none_or(|resources| {
                resources.matches(|pattern| question.resources.iter().any(|arn| glob(pattern, arn)))
            })
            && self.principals.as_ref().is_none_or(|principals| {
                principals.iter().any(|principal| {
                    principal == "*"
                        || principal == question.principal_arn
                        || *principal == question.account
                        || *principal == format!("arn:aws:iam::{}:root", question.account)
                })
            })
    }
}

impl Policy {
    /// Whether a trust policy names this very principal, and not just the account it belongs to: then the principal's
    /// own policies need not allow the call too.
    pub fn trusts_by_name(&self, question: &Question<'_>) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == Effect::Allow
                && statement.surely_applies(question)
                && statement.principals.iter().flatten().any(|principal| principal == question.principal_arn)
        })
    }
}

impl Matcher {
    fn matches(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern)) != self.negated
    }
}

fn matcher(name: &str, plain: Option<Value>, negated: Option<Value>) -> Result<Option<Matcher>, NotAPolicy> {
    match (plain, negated) {
        (Some(_), Some(_)) => Err(NotAPolicy(format!("{name} and Not{name} exclude each other"))),
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(Matcher { patterns: texts(name, value)?, negated: false })),
        (None, Some(value)) => Ok(Some(Matcher { patterns: texts(name, value)?, negated: true })),
    }
}

fn principals(value: Value) -> Result<Vec<String>, NotAPolicy> {
    match value {
        Value::String(all) if all == "*" => Ok(vec![all]),
        Value::Object(mut kinds) if kinds.len() == 1 && kinds.contains_key("AWS") => {
            texts("Principal", kinds.remove("AWS").unwrap_or_default())
        }
        _ => Err(NotAPolicy(r#"Principal must be "*" or {"AWS": ...}"#.into())),
    }
}

/// One text or a list of them; conditions also take numbers and booleans.
fn texts(name: &str, value: Value) -> Result<Vec<String>, NotAPolicy> {
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    let text = |value| {
        let text = match value {
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return Err(NotAPolicy(format!("{name} must be a text or a list of texts"))),
        };
        if text.contains("${") {
            return Err(NotAPolicy(format!(
                "{name}: policy variables such as {text} are not evaluated here"
            )));
        }
        Ok(text)
    };
    values.into_iter().map(text).collect()
}

impl Test {
    fn parse(operator: &str) -> Option<Test> {
        let (quantifier, rest) = match operator.split_once(':') {
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(_) => return None,
            None => (Quantifier::One, operator),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (operator, negated) = match name {
            "StringEquals" => (Operator::Equals, false),
            "StringNotEquals" => (Operator::Equals, true),
            "StringEqualsIgnoreCase" => (Operator::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Operator::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Operator::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Operator::Like, true),
            "Null" if quantifier == Quantifier::One && !if_exists => (Operator::Null, false),
            _ => return None,
        };
        Some(Test { operator, negated, quantifier, if_exists })
    }
}

impl Condition {
    /// Whether it holds; `None` when that cannot be known here.
    fn holds(&self, question: &Question<'_>) -> Option<bool> {
        let test = self.test?;
        let found = values_of(&self.key, question)?;
        if test.operator == Operator::Null {
            return Some(
                self.values.iter().any(|value| value == if found.is_empty() { "true" } else { "false" }),
            );
        }
        if found.is_empty() {
            return Some(match test.quantifier {
                Quantifier::All => true,
                Quantifier::Any => test.if_exists,
                Quantifier::One => test.if_exists || test.negated,
            });
        }
        let named = |found: &String| {
            self.values.iter().any(|value| match test.operator {
                Operator::Equals => value == found,
                Operator::EqualsIgnoreCase => value.eq_ignore_ascii_case(found),
                Operator::Like => glob(value, found),
                Operator::Null => false,
            })
        };
        Some(match (test.quantifier, test.negated) {
            (Quantifier::All, negated) => found.iter().all(|found| named(found) != negated),
            (Quantifier::Any, negated) => found.iter().any(|found| named(found) != negated),
            (Quantifier::One, false) => found.iter().any(named),
            (Quantifier::One, true) => !found.iter().any(named),
        })
    }
}

/// The values of a condition key; `None` when the key is not known here.
fn values_of(key: &str, question: &Question<'_>) -> Option<Vec<String>> {
    let tagged = |tags: &[(String, String)], name: &str| {
        let named = tags.iter().filter(|(key, _)| key.to_lowercase() == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    if let Some(name) = key.strip_prefix(RESOURCE_TAG) {
        return Some(tagged(&question.resource_tags, name));
    }
    if let Some(name) = key.strip_prefix(REQUEST_TAG) {
        return Some(tagged(&question.request_tags, name));
    }
    let place = KNOWN_KEYS.iter().position(|known| *known == key)?;
    Some(match place {
        0 => question.request_tags.iter().map(|(key, _)| key.clone()).collect(),
        1 => vec![question.principal_arn.to_owned()],
        2 => vec![question.account.clone()],
        _ => vec![question.region.to_owned()],
    })
}

/// Matches `*` (any characters) and `?` (any one), in time that grows with the product of the lengths at worst.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut reached) = (0, 0);
    // Where to go on when the latest star has to take one more character.
    let mut retry: Option<(usize, usize)> = None;
    while reached < text.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, reached));
            at += 1;
        } else if pattern.get(at).is_some_and(|c| *c == '?' || *c == text[reached]) {
            at += 1;
            reached += 1;
        } else if let Some((after_star, taken)) = retry {
            retry = Some((after_star, taken + 1));
            at = after_star;
            reached = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// Entry points for fuzzing: no bytes may make them panic.
pub mod fuzz {
    use super::*;

    /// A policy from a stranger, as AssumeRole takes one.
    pub fn policy(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        let question = Question {
            action: "chime:GetMeeting",
            resources: vec!["arn:aws:chime::111122223333:meeting/x".into()],
            resource_tags: vec![("team".into(), "red".into())],
            request_tags: Vec::new(),
            principal_arn: "arn:aws:iam::111122223333:user/ann",
            account: "111122223333".into(),
            region: "us-east-1",
        };
        for policy in [Policy::parse(&text), Policy::parse_trust(&text)].into_iter().flatten() {
            let alone = decide([&policy], &question);
            let administrator = Policy::managed("AdministratorAccess").expect("built in");
            let both = decide([&policy, &administrator], &question);
            assert_eq!(alone == Decision::ExplicitlyDenied, both == Decision::ExplicitlyDenied);
        }
    }
}

#[cfg(test)]
mod tests;
