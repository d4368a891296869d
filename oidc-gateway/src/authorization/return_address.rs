//! Where the answer goes (RFC 6749 §3.1.2): a client that we know, at a redirect URI that it registered. Before there
//! is one, an error is a page; only a `ReturnAddress` can answer a client.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::metadata::{ResponseMode, ResponseType};
use crate::client::{Client, redirect_uri};
use crate::error::Failure;
use crate::page::locale::Locales;
use crate::params::Params;
use crate::provider::Provider;

/// A "state" longer than this is not sent back (AZ-21): octets.
const LONGEST_STATE: usize = 4096;

/// A place to which an answer may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReturnAddress {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) mode: ResponseMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// What the person reads on the way.
    #[serde(default, skip_serializing_if = "Locales::is_empty")]
    pub(crate) ui_locales: Locales,
}

/// The client that sends a person here; otherwise a page, and no redirect.
pub(crate) async fn client_of(
    provider: &Provider,
    params: &Params<'_>,
) -> Result<Arc<Client>, Failure> {
    let client_id = params
        .one("client_id")
        .map_err(|_| Failure::Page("The parameter client_id is repeated."))?
        .ok_or(Failure::Page("The parameter client_id is missing."))?;
    let client = provider.client(client_id).await?;
    client.ok_or(Failure::Page("The application is not known here."))
}

impl ReturnAddress {
    /// The address of a request; otherwise a page, and no redirect.
    pub(crate) fn of(params: &Params<'_>, client: &Client) -> Result<ReturnAddress, Failure> {
        let redirect_uri = params
            .one("redirect_uri")
            .map_err(|_| Failure::Page("The parameter redirect_uri is repeated."))?
            .ok_or(Failure::Page("The parameter redirect_uri is missing."))?;
        if !redirect_uri::is_registered(redirect_uri, client) {
            return Err(Failure::Page(
                "The parameter redirect_uri is not one that the application has registered.",
            ));
        }
        // What is repeated, unknown or does not go together is refused by `AuthorizationRequest::parse`, at this
        // address: by the way that the client asks for if it may, else by its response type's own.
        let one = |name| params.one(name).ok().flatten();
        let response_type = one("response_type")
            .and_then(ResponseType::named)
            .unwrap_or(ResponseType::Code);
        let mode = one("response_mode")
            .and_then(ResponseMode::named)
            .filter(|&mode| response_type.may_come_by(mode))
            .unwrap_or(response_type.default_mode());
        let state = one("state");
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(Failure::Page("The parameter state is too long."));
        }
        Ok(ReturnAddress {
            client_id: client.id().to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            mode,
            state: state.map(str::to_owned),
            ui_locales: Locales::parse(one("ui_locales").unwrap_or_default()),
        })
    }
}
