//! OpenID Connect Session Management 1.0: how a relying party's page learns, without a request, that the person is no
//! longer signed in here. Both sides hash the same four things (§2, §3.2); one of them, the browser state, is in a
//! cookie that our iframe's script reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::Session;
use crate::provider::Provider;
use crate::store::table::hash_of;

/// `[session_management]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether there is a `check_session_iframe`, a cookie for it, and `session_state` in authorization responses.
    /// Default: true.
    pub enabled: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enabled: true }
    }
}

impl Session {
    /// §4.2: the browser state, for the cookie. It is no secret and opens nothing. It stays when the same person signs
    /// in again, for nothing has changed then for the relying parties.
    pub(crate) fn browser_state(&self) -> String {
        hash_of("browser_state", &[&self.sid])
    }

    /// §2: `session_state` of an authorization response to a client at this redirect URI; `None`: not in use, or at no
    /// origin that a browser could name.
    pub(crate) fn session_state(
        &self,
        provider: &Provider,
        client_id: &str,
        redirect_uri: &str,
    ) -> Option<String> {
        if !provider.config.session_management.enabled {
            return None;
        }
        let salt = provider.random.token128();
        session_state(client_id, redirect_uri, &self.browser_state(), &salt)
    }
}

fn session_state(client_id: &str, redirect_uri: &str, state: &str, salt: &str) -> Option<String> {
    let origin = Url::parse(redirect_uri).ok()?.origin();
    if !origin.is_tuple() {
        return None;
    }
    let origin = origin.ascii_serialization();
    let hash = Sha256::digest(format!("{client_id} {origin} {state} {salt}"));
    Some(format!("{}.{salt}", URL_SAFE_NO_PAD.encode(hash)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_covers() {
        let of = |client_id, uri, state, salt| session_state(client_id, uri, state, salt);
        let one = of("c", "https://rp.example/cb?x", "state", "salt");
        // printf 'c https://rp.example state salt' | openssl dgst -sha256 -binary | basenc --base64url
        let expected = "zovC8ioZfRSoHzBXl2yNtnziltknIG1Kq_qMypUzEok.salt";
        assert_eq!(one.as_deref(), Some(expected));
        for (row, other, same) in [
            (
                "path",
                of("c", "https://rp.example/other", "state", "salt"),
                true,
            ),
            (
                "port by name",
                of("c", "https://rp.example:443/", "state", "salt"),
                true,
            ),
            (
                "case",
                of("c", "https://RP.example/", "state", "salt"),
                true,
            ),
            (
                "client",
                of("d", "https://rp.example/", "state", "salt"),
                false,
            ),
            (
                "port",
                of("c", "https://rp.example:8443/", "state", "salt"),
                false,
            ),
            (
                "scheme",
                of("c", "http://rp.example/", "state", "salt"),
                false,
            ),
            (
                "state",
                of("c", "https://rp.example/", "other", "salt"),
                false,
            ),
            (
                "salt",
                of("c", "https://rp.example/", "state", "other"),
                false,
            ),
        ] {
            assert_eq!(one == other, same, "{row}");
        }
        assert_eq!(of("c", "com.example.app:/cb", "state", "salt"), None);
    }
}
