//! What a compact JWE says of itself (RFC 7516 §7.1) to who cannot open it: of what the key-service sealed, by which key
//! and under which context.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Longer than anything that is sealed.
const LONGEST: usize = 128 * 1024;

/// The header of what the key-service sealed. It is authenticated with the content, by nobody here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct SealedHeader {
    /// The key that sealed it.
    pub(crate) kid: String,
    /// What it was sealed under.
    #[serde(rename = "ctx")]
    pub(crate) context: String,
}

impl SealedHeader {
    /// Reads it; `None`: this was not sealed by a key-service.
    pub(crate) fn parse(compact: &str) -> Option<SealedHeader> {
        if compact.len() > LONGEST || compact.split('.').count() != 5 {
            return None;
        }
        let header = URL_SAFE_NO_PAD.decode(compact.split('.').next()?).ok()?;
        serde_json::from_slice(&header).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let with = |header: &str| format!("{}..AAAA.AAAA.AAAA", URL_SAFE_NO_PAD.encode(header));
        let good = r#"{"alg":"dir","enc":"A256GCM","kid":"k","ctx":"use-only:x"}"#;
        let rows = [
            (with(good), Some(("k", "use-only:x"))),
            (with(r#"{"alg":"dir","enc":"A256GCM","kid":"k"}"#), None),
            (with("{"), None),
            (with(good).replace("..", "."), None),
            (format!("{}.A", with(good)), None),
            (format!("{}{}", with(good), "A".repeat(LONGEST)), None),
            (String::new(), None),
        ];
        for (compact, expected) in rows {
            let header = SealedHeader::parse(&compact);
            let found = header
                .as_ref()
                .map(|it| (it.kid.as_str(), it.context.as_str()));
            assert_eq!(found, expected, "{compact:.100}");
        }
    }
}
