//! The authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2), step by step, each a change of type:
//! parameters → return address → request → decision → answer, with an interaction where a person must do something.

pub(crate) mod budget;
pub(crate) mod claims_parameter;
pub(crate) mod consent;
pub(crate) mod decision;
pub(crate) mod interaction;
pub(crate) mod request;
pub(crate) mod request_object;
pub(crate) mod response;
pub(crate) mod response_mode;
pub(crate) mod return_address;
pub mod settings;

pub(crate) use request::AuthorizationRequest;
pub(crate) use response::Answer;
pub(crate) use return_address::ReturnAddress;
