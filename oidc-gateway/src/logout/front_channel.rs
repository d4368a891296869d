//! OpenID Connect Front-Channel Logout 1.0: in the browser, a frame for each client, in which it signs the person out.

use url::Url;

use crate::client::Client;
use crate::params::with_query;
use crate::provider::Provider;
use crate::token::issuer;

/// A frame of the page that signs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The client's `frontchannel_logout_uri`, with `iss` and `sid`.
    pub(crate) url: String,
    /// For the page's content security policy.
    pub(crate) origin: String,
}

impl Frame {
    /// §3: `iss` and `sid` for every client; one that did not ask for them ignores them.
    pub(super) fn of(provider: &Provider, client: &Client, sid: &str) -> Option<Frame> {
        let uri = client.frontchannel_logout_uri.as_deref()?;
        frame(uri, issuer(provider), sid)
    }
}

fn frame(uri: &str, issuer: &str, sid: &str) -> Option<Frame> {
    let origin = Url::parse(uri).ok()?.origin();
    origin.is_tuple().then(|| Frame {
        url: with_query(uri, &[("iss", issuer), ("sid", sid)]),
        origin: origin.ascii_serialization(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let rows = [
            (
                "https://rp.example/out",
                Some((
                    "https://rp.example/out?iss=https%3A%2F%2Fop.example&sid=s",
                    "https://rp.example",
                )),
            ),
            (
                "https://RP.example:8443/out?a=b",
                Some((
                    "https://RP.example:8443/out?a=b&iss=https%3A%2F%2Fop.example&sid=s",
                    "https://rp.example:8443",
                )),
            ),
            ("com.example.app:/out", None),
            ("out", None),
        ];
        for (uri, expected) in rows {
            let frame = frame(uri, "https://op.example", "s");
            let parts = frame
                .as_ref()
                .map(|frame| (frame.url.as_str(), frame.origin.as_str()));
            assert_eq!(parts, expected, "{uri}");
        }
    }
}
