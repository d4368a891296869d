//! OpenID Connect Session Management 1.0: how a relying party's page learns, without a request, that the person is no
//! longer signed in here. Both sides hash the same four things (§2, §3.2); one of them, the browser state, is in a
//! cookie that our iframe's script reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Session;
use crate::client::Client;
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
        client: &Client,
        redirect_uri: &str,
    ) -> Option<String> {
        if !provider.config.session_management.enabled {
            return None;
        }
        let origin = client.origin_of(redirect_uri)?;
        let salt = provider.random.token128();
        Some(session_state(
            client.id(),
            &origin,
            &self.browser_state(),
            &salt,
        ))
    }
}

fn session_state(client_id: &str, origin: &str, browser_state: &str, salt: &str) -> String {
    let text = [client_id, " ", origin, " ", browser_state, " ", salt].concat();
    let mut state = String::with_capacity(43 + 1 + salt.len());
    URL_SAFE_NO_PAD.encode_string(Sha256::digest(text), &mut state);
    state.push('.');
    state.push_str(salt);
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_covers() {
        let one = session_state("c", "https://rp.example", "state", "salt");
        // printf 'c https://rp.example state salt' | openssl dgst -sha256 -binary | basenc --base64url
        let expected = "zovC8ioZfRSoHzBXl2yNtnziltknIG1Kq_qMypUzEok.salt";
        assert_eq!(one, expected);
        for (row, other) in [
            ("client", ["d", "https://rp.example", "state", "salt"]),
            ("port", ["c", "https://rp.example:8443", "state", "salt"]),
            ("scheme", ["c", "http://rp.example", "state", "salt"]),
            ("state", ["c", "https://rp.example", "other", "salt"]),
            ("salt", ["c", "https://rp.example", "state", "other"]),
        ] {
            let [client_id, origin, state, salt] = other;
            let other = session_state(client_id, origin, state, salt);
            assert_ne!(one, other, "{row}");
        }
    }
}
