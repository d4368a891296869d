//! The files that pages refer to, compiled in: a style sheet and the few scripts.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderValue;

use super::response::Document;
use super::{Request, Response, failure};

/// An hour; the entity tag does the rest.
const MAX_AGE: u64 = 3600;

static STYLE: LazyLock<Document> = LazyLock::new(|| {
    document(
        include_bytes!("../../assets/signet.css"),
        "text/css; charset=utf-8",
    )
});
static FORM_POST: LazyLock<Document> = LazyLock::new(|| {
    document(
        include_bytes!("../../assets/form_post.js"),
        "text/javascript; charset=utf-8",
    )
});
static CHECK_SESSION: LazyLock<Document> = LazyLock::new(|| {
    document(
        include_bytes!("../../assets/check_session.js"),
        "text/javascript; charset=utf-8",
    )
});
static FRONT_CHANNEL_LOGOUT: LazyLock<Document> = LazyLock::new(|| {
    document(
        include_bytes!("../../assets/front_channel_logout.js"),
        "text/javascript; charset=utf-8",
    )
});
static ICON: LazyLock<Document> =
    LazyLock::new(|| document(include_bytes!("../../assets/signet.svg"), "image/svg+xml"));

fn document(body: &'static [u8], content_type: &'static str) -> Document {
    let content_type = HeaderValue::from_static(content_type);
    Document::new(Bytes::from_static(body), content_type, MAX_AGE)
}

/// The file, or 404.
pub(super) fn answer(request: &Request) -> Response {
    let name = request
        .path()
        .split_once("/assets/")
        .map_or("", |(_, name)| name);
    let document = match name {
        "signet.css" => &STYLE,
        "form_post.js" => &FORM_POST,
        "check_session.js" => &CHECK_SESSION,
        "front_channel_logout.js" => &FRONT_CHANNEL_LOGOUT,
        "signet.svg" => &ICON,
        _ => return failure::not_found(),
    };
    Response::document(request, document)
}
