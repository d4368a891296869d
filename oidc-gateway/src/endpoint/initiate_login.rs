//! `GET /initiate` (OpenID Connect Core §4): somebody starts here and not at the application, which is then told to
//! begin a sign-in with us. Without a `client_id`: the page of the applications that can be started so.

use std::sync::Arc;

use crate::client::Client;
use crate::error::Failure;
use crate::page;
use crate::page::locale::Locales;
use crate::page::text::Text;
use crate::params::{Params, with_query};
use crate::provider::Provider;
use crate::web::{Request, Response};

/// What the application is told beside who we are.
const PASSED_ON: [&str; 2] = ["login_hint", "target_link_uri"];
/// Octets of either.
const LONGEST: usize = 2048;

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let params = Params::query(request)?;
    let Some(client_id) = params.one("client_id")? else {
        let locales = Locales::parse(params.one("ui_locales")?.unwrap_or_default());
        return Ok(Response::page(applications(provider, &locales).render()));
    };
    let client = provider
        .client(client_id)
        .await?
        .ok_or(Failure::Page("The application is not known here."))?;
    let uri = client.initiate_login_uri.as_deref().ok_or(Failure::Page(
        "The application cannot be started from here.",
    ))?;
    let mut pairs = vec![("iss", &*provider.issuer)];
    for name in PASSED_ON {
        if let Some(value) = params.one(name)? {
            if value.len() > LONGEST {
                return Err(Failure::Page("A parameter is too long."));
            }
            pairs.push((name, value));
        }
    }
    // §4: the application verifies target_link_uri, for anybody may have made it up.
    Ok(Response::see_other(&with_query(uri, &pairs)))
}

/// Whether there is anything to start.
pub(super) fn is_of_use(provider: &Provider) -> bool {
    startable(provider).next().is_some()
}

fn startable(provider: &Provider) -> impl Iterator<Item = &Arc<Client>> {
    let clients = provider.clients.iter();
    clients.filter(|client| client.initiate_login_uri.is_some() && !client.disabled)
}

fn applications(provider: &Provider, locales: &Locales) -> page::Applications {
    let links = startable(provider).map(|client| page::Link {
        name: client.name.clone(),
        url: with_query(&provider.url("/initiate"), &[("client_id", client.id())]),
    });
    page::Applications {
        text: Text::of(locales),
        links: links.collect(),
    }
}
