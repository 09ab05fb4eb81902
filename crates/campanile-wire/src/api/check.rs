//! What every request is checked with, and what is said to whoever sent a wrong one.

use std::ops::RangeInclusive;

/// A request that breaks a rule; the text says which, and what would be right, to the developer who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(why.into()))
}

pub(super) fn required<T>(name: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid(format!("{name} is required")))
}

/// Lengths count Unicode scalar values: SDKs send the same text escaped or raw, and neither form's bytes are what the
/// caller counted.
pub(super) fn length(name: &str, text: &str, bounds: RangeInclusive<usize>) -> Result<(), Invalid> {
    if bounds.contains(&text.chars().count()) {
        return Ok(());
    }
    invalid(format!("{name} must have {} to {} characters", bounds.start(), bounds.end()))
}

/// The characters of ExternalUserId and ExternalMeetingId, and the prefix that is reserved in any letter case.
pub(super) fn external_id(name: &str, id: &str) -> Result<(), Invalid> {
    const OTHERS: &str = "-_&@+=,(){}[]/«».:|'\"# \t\n\u{b}\u{c}\r";
    let legal = |c: char| c.is_ascii_alphanumeric() || ('À'..='ÿ').contains(&c) || OTHERS.contains(c);
    if let Some(c) = id.chars().find(|&c| !legal(c)) {
        return invalid(format!("{name} may not contain {c:?}"));
    }
    if id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return invalid(format!("{name} may not begin with aws:"));
    }
    Ok(())
}

pub(super) fn one_of(name: &str, value: &Option<String>, known: &[&str]) -> Result<(), Invalid> {
    match value {
        Some(value) if !known.contains(&value.as_str()) => {
            invalid(format!("{name} must be one of {}", known.join(", ")))
        }
        _ => Ok(()),
    }
}

pub(super) fn text(
    name: &str,
    value: &Option<String>,
    bounds: RangeInclusive<usize>,
    legal: impl Fn(char) -> bool,
) -> Result<(), Invalid> {
    let Some(value) = value else { return Ok(()) };
    length(name, value, bounds)?;
    match value.chars().find(|&c| !legal(c)) {
        Some(c) => invalid(format!("{name} may not contain {c:?}")),
        None => Ok(()),
    }
}
