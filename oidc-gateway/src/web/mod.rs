//! HTTP: connections, the URL table, requests and responses. Nothing else names hyper, and `failure.rs` alone picks an
//! error's status.

pub(crate) mod assets;
pub(crate) mod body;
pub(crate) mod client_address;
pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod csrf;
pub(crate) mod failure;
pub(crate) mod observability;
pub(crate) mod patience;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod router;
pub(crate) mod security_headers;
pub(crate) mod server;

pub(crate) use request::{Method, Request};
pub(crate) use response::Response;
