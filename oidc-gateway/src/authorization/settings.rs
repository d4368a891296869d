//! `[authorization]`: what the operator says about authorization requests.

use serde::Deserialize;

use crate::login::password;

/// `[authorization]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Octets that a `state` and a `nonce` have at the least where there is one; 0: any. Default: 8.
    pub minimum_parameter_entropy: usize,
    /// Names for what a sign-in with a password amounts to ("acr"). The first is said where a request names none.
    /// Default: `1`.
    pub acr_values_supported: Vec<String>,
    /// Encrypted request objects that one process opens in a second, at the most; each costs an operation with a
    /// private key. Default: 20.
    pub encrypted_request_objects: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            minimum_parameter_entropy: 8,
            acr_values_supported: vec![password::ACR.to_owned()],
            encrypted_request_objects: 20,
        }
    }
}

impl Settings {
    /// Which key is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.minimum_parameter_entropy > 128 {
            return Err((
                "minimum_parameter_entropy",
                "more than 128 would refuse what clients send",
            ));
        }
        let names = &self.acr_values_supported;
        if names.is_empty() {
            return Err((
                "acr_values_supported",
                "name at least one: every ID token says it",
            ));
        }
        // They are values of a parameter that spaces separate.
        let is_name = |name: &String| {
            !name.is_empty()
                && name.len() <= 255
                && name.bytes().all(|octet| octet.is_ascii_graphic())
        };
        if !names.iter().all(is_name) {
            return Err((
                "acr_values_supported",
                "a name is 1 to 255 visible ASCII characters without spaces",
            ));
        }
        Ok(())
    }

    /// What is said of a sign-in where nothing else was asked for.
    pub(crate) fn default_acr(&self) -> &str {
        self.acr_values_supported
            .first()
            .map_or(password::ACR, String::as_str)
    }
}
