//! What goes wrong at the API, in the form that SDKs can type: the name in `x-amzn-ErrorType`, a JSON body, never HTML.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use campanile_meeting::registry::RegistryError;
use campanile_wire::api::{ErrorBody, Invalid};

use crate::sigv4::AuthError;
use crate::store::StoreFailed;

/// The header that SDKs type an error by.
const ERROR_TYPE: &str = "x-amzn-errortype";
/// The header that names a call, on every answer.
pub(super) const REQUEST_ID: &str = "x-amzn-requestid";

/// An error as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// The shape's name, by which SDKs choose the exception.
    pub kind: &'static str,
    /// For the developer: what is wrong and what to do.
    pub message: String,
    /// The ARN in question, in errors that have such a member.
    pub resource_name: Option<String>,
    /// After how many seconds another try makes sense.
    pub retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into(), resource_name: None, retry_after_s: None }
    }
    /// The request breaks a rule. Every operation models it.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
    }
    /// The meeting or attendee is not there.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "NotFoundException", message)
    }
    /// As the operations on tags say that there is no such resource.
    pub fn resource_not_found(arn: &str) -> ApiError {
        let message = format!("There is no resource {arn}");
        let error = ApiError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message);
        ApiError { resource_name: Some(arn.to_owned()), ..error }
    }
    /// Policies do not let the caller do this.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "ForbiddenException", message)
    }
    /// The caller calls too often.
    pub fn throttled(operation: &str, retry_after_s: u64) -> ApiError {
        let message =
            format!("Too many {operation} requests; try again in {retry_after_s} s, or raise the quota");
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", message);
        ApiError { retry_after_s: Some(retry_after_s), ..error }
    }
    /// As the operations on tags put it, where the resource is named by its ARN.
    pub fn on_resource(self, arn: &str) -> ApiError {
        match self.kind {
            "NotFoundException" => ApiError::resource_not_found(arn),
            "TooManyTagsException" => ApiError { resource_name: Some(arn.to_owned()), ..self },
            _ => self,
        }
    }
    /// No operation has this path, or none with this method.
    pub fn unknown_operation(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError::new(status, "UnknownOperationException", message)
    }
    /// The body is larger than any operation's.
    pub fn too_large(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "BadRequestException", message)
    }
    /// The body did not come.
    pub fn timeout(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "BadRequestException", message)
    }
    /// The short name in the body, which is not the exception's: `NotFound` for `NotFoundException`.
    pub fn code(&self) -> &'static str {
        self.kind.strip_suffix("Exception").unwrap_or(self.kind)
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> ApiError {
        let message = error.to_string();
        match error {
            RegistryError::MeetingNotFound(_) | RegistryError::AttendeeNotFound(_) => {
                ApiError::not_found(message)
            }
            RegistryError::AttendeeLimit(_)
            | RegistryError::MeetingLimit(_)
            | RegistryError::ReplicaLimit(_) => {
                ApiError::new(StatusCode::BAD_REQUEST, "LimitExceededException", message)
            }
            RegistryError::TooManyTags(_) => {
                ApiError::new(StatusCode::BAD_REQUEST, "TooManyTagsException", message)
            }
            RegistryError::NoTranscription => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "UnprocessableEntityException", message)
            }
            RegistryError::Invalid(_) => ApiError::bad_request(message),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(Invalid(why): Invalid) -> ApiError {
        ApiError::bad_request(why)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, error.kind(), error.to_string())
    }
}

impl From<StoreFailed> for ApiError {
    fn from(error: StoreFailed) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceFailureException", error.to_string())
    }
}

/// A successful call's answer.
pub enum Answer {
    /// 200 with this JSON.
    Json(Vec<u8>),
    /// 200 with an object that has no members: the operation has an answer, but nothing to say in it.
    Empty,
    /// 204 with nothing at all.
    Nothing,
}

/// The answer to a call, as HTTP.
pub fn respond(request_id: String, outcome: Result<Answer, ApiError>) -> Response<Body> {
    let mut response = match outcome {
        Ok(Answer::Json(body)) => json(StatusCode::OK, body),
        Ok(Answer::Empty) => json(StatusCode::OK, b"{}".to_vec()),
        Ok(Answer::Nothing) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => {
            let body = ErrorBody {
                code: error.code().into(),
                message: error.message,
                request_id: request_id.clone(),
                resource_name: error.resource_name,
            };
            let mut response = json(error.status, to_json(&body));
            response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.kind));
            if let Some(seconds) = error.retry_after_s {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            if matches!(error.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
                // The rest of the body would be taken for the next request.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    };
    let request_id = HeaderValue::try_from(request_id).expect("a UUID is plain text");
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The JSON of our own types, which have none that JSON cannot say.
pub fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("text keys, finite numbers")
}
