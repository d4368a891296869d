//! `GET /check_session` (OpenID Connect Session Management 1.0 §3.3): the page that relying parties' pages have in a
//! frame, to ask it whether the session has changed. The one page that may be in a frame.

use crate::error::Failure;
use crate::provider::Provider;
use crate::web::{Request, Response, failure};

const PAGE: &str = include_str!("../../templates/check_session.html");

pub(crate) async fn handle(provider: &Provider, _: &Request) -> Result<Response, Failure> {
    Ok(match provider.config.session_management.enabled {
        true => Response::framed_page(PAGE),
        false => failure::not_found(),
    })
}
