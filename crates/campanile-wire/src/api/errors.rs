//! What an error looks like.

use serde::{Deserialize, Serialize};

/// The body of every error. `Code` is the short code; the type that SDKs go by is in the `x-amzn-ErrorType` header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorBody {
    /// `NotFound`, `BadRequest`, ...
    pub code: String,
    /// For the developer.
    pub message: String,
    /// As in the `x-amzn-RequestId` header.
    pub request_id: String,
    /// The ARN in question, in errors that have such a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
}
