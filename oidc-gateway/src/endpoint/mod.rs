//! One file for each URL, named as in the discovery document. Each reads: authenticate, parse, decide, answer.

pub(crate) mod authorization;
pub(crate) mod consent;
pub(crate) mod discovery;
pub(crate) mod end_session;
pub(crate) mod health;
pub(crate) mod introspection;
pub(crate) mod jwks;
pub(crate) mod login;
pub(crate) mod revocation;
pub(crate) mod token;
pub(crate) mod userinfo;

use crate::client::authentication::{AuthenticatedClient, Credentials, authenticate};
use crate::error::Failure;
use crate::params::Params;
use crate::provider::Provider;
use crate::web::Request;

/// The parameters of a request that a client sends itself, each once, and the client that has shown to be itself
/// (RFC 6749 §2.3, §3.2).
async fn from_client<'a>(
    provider: &Provider,
    request: &'a Request,
) -> Result<(AuthenticatedClient, Params<'a>), Failure> {
    let params = Params::form(request)?;
    params.each_once()?;
    let credentials = Credentials::present(request.authorization()?, &params)?;
    let client = authenticate(provider, request.id().as_str(), credentials).await?;
    Ok((client, params))
}
