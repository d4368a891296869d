//! Where the answer goes (RFC 6749 §3.1.2): a client that we know, at a redirect URI that it registered. Before there
//! is one, an error is a page; only a `ReturnAddress` can answer a client.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::metadata::ResponseMode;
use crate::client::{Client, Clients, redirect_uri};
use crate::error::Failure;
use crate::params::Params;

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
}

impl ReturnAddress {
    /// The client and the address of a request; otherwise a page, and no redirect.
    pub(crate) fn of(
        params: &Params<'_>,
        clients: &Clients,
    ) -> Result<(Arc<Client>, ReturnAddress), Failure> {
        let client_id = params
            .one("client_id")
            .map_err(|_| Failure::Page("The parameter client_id is repeated."))?
            .ok_or(Failure::Page("The parameter client_id is missing."))?;
        let client = clients
            .find(client_id)
            .ok_or(Failure::Page("The application is not known here."))?;
        let redirect_uri = params
            .one("redirect_uri")
            .map_err(|_| Failure::Page("The parameter redirect_uri is repeated."))?
            .ok_or(Failure::Page("The parameter redirect_uri is missing."))?;
        if !redirect_uri::is_registered(redirect_uri, client) {
            return Err(Failure::Page(
                "The parameter redirect_uri is not one that the application has registered.",
            ));
        }
        // A repeated or unknown response_mode or state is refused by `AuthorizationRequest::parse`, at this address.
        let mode = params.one("response_mode").ok().flatten();
        let mode = mode
            .and_then(ResponseMode::named)
            .unwrap_or(ResponseMode::Query);
        let state = params.one("state").ok().flatten();
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(Failure::Page("The parameter state is too long."));
        }
        let address = ReturnAddress {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            mode,
            state: state.map(str::to_owned),
        };
        Ok((client.clone(), address))
    }
}
