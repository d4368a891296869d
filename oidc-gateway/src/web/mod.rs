//! HTTP: connections, the URL table, requests and responses. Beside `fetch.rs` the only place that names hyper, and
//! in `failure.rs` the only one that picks an error's status.

pub(crate) mod assets;
pub(crate) mod body;
pub(crate) mod client_address;
pub(crate) mod cookie;
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
