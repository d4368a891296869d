//! `POST /register` (RFC 7591 §3, OpenID Connect Registration §3): a client registers itself; and
//! `GET`, `PUT` and `DELETE /register/{client_id}` (RFC 7592): it reads, changes and deletes that.

use crate::client::registration::{self, Permit, Refused};
use crate::error::{Code, Failure, Refusal};
use crate::provider::Provider;
use crate::web::{Method, Request, Response};

const WRONG_TOKEN: Refusal = Refusal::new(
    Code::InvalidToken,
    "the initial access token is not known here",
);

pub(crate) async fn register(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let permit = permit(provider, request)?;
    let id = request.id().as_str();
    let registered = registration::register(provider, id, permit, request.json()?).await?;
    Ok(Response::created(registered.into_body()))
}

/// What was registered is managed also where nobody can register any more.
pub(crate) async fn manage(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let id = request.id().as_str();
    let path = request.path();
    let client_id = path.rsplit('/').next().unwrap_or_default();
    let token = bearer(request)?.ok_or(Failure::Bearer(None))?;
    Ok(match request.method() {
        Method::Put => {
            let permit = provider
                .registration
                .permit_change(request.client_address());
            permit.map_err(refused)?;
            let client = (client_id, token);
            let body = request.json()?;
            let changed = registration::replace(provider, id, client, body).await?;
            Response::json(changed.into_body())
        }
        Method::Delete => {
            registration::delete(provider, id, client_id, token).await?;
            Response::no_content()
        }
        _ => {
            let registered = registration::read(provider, client_id, token).await?;
            Response::json(registered.into_body())
        }
    })
}

fn permit(provider: &Provider, request: &Request) -> Result<Permit, Failure> {
    let gate = &provider.registration;
    let permit = gate.permit(bearer(request)?, request.client_address());
    permit.map_err(refused)
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::NoToken => Failure::Bearer(None),
        Refused::WrongToken => Failure::Bearer(Some(WRONG_TOKEN)),
        Refused::TooOften(wait) => Failure::TooOften(wait),
    }
}

/// RFC 6750 §2.1; the scheme's case does not count (RFC 9110 §11.1).
fn bearer(request: &Request) -> Result<Option<&str>, Failure> {
    let Some(header) = request.authorization()? else {
        return Ok(None);
    };
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
        .filter(|token| !token.is_empty() && token.bytes().all(|octet| octet.is_ascii_graphic()));
    token.map(Some).ok_or(Failure::Bearer(Some(WRONG_TOKEN)))
}
