//! Redirect URIs (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1): what may be registered, and how one is compared.

use super::Client;
use super::metadata::ApplicationType;

/// Schemes that run in the browser instead of going anywhere (AZ-05).
const NEVER: [&str; 8] = [
    "javascript",
    "data",
    "vbscript",
    "file",
    "blob",
    "about",
    "filesystem",
    "view-source",
];

/// Whether a URI may be registered. The error is a sentence.
pub(crate) fn check(uri: &str, application: ApplicationType) -> Result<(), &'static str> {
    if uri.len() > 2048 || !uri.bytes().all(|octet| matches!(octet, 0x21..=0x7e)) {
        return Err("a redirect URI is at most 2048 visible ASCII characters");
    }
    if uri.contains('#') {
        return Err("a redirect URI has no fragment (RFC 6749 §3.1.2)");
    }
    if uri.contains('\\') {
        return Err("a redirect URI has no backslash");
    }
    let parsed = url::Url::parse(uri).map_err(|_| "is not an absolute URI")?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("a redirect URI has no user name or password");
    }
    if parsed
        .path_segments()
        .is_some_and(|mut path| path.any(|segment| segment == ".."))
        || uri.contains("/../")
    {
        return Err("a redirect URI has no `..`");
    }
    match parsed.scheme() {
        "https" if !has_plain_host(&parsed) => {
            Err("has a host that is neither a name nor an address")
        }
        "https" => Ok(()),
        "http" if is_loopback(&parsed) => Ok(()),
        "http" => Err("http is for loopback addresses alone: use https"),
        scheme if NEVER.contains(&scheme) => Err("has a scheme that a browser would run"),
        // RFC 8252 §7.1: a private-use scheme is a reversed domain name.
        scheme if application == ApplicationType::Native && scheme.contains('.') => Ok(()),
        _ => Err(
            "has a scheme for native applications: set application_type = \"native\" and use a reversed domain name",
        ),
    }
}

/// Literal loopback addresses; the name `localhost` for development (RFC 8252 §8.3 would rather not).
fn is_loopback(uri: &url::Url) -> bool {
    match uri.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A host of letters, digits, `.`, `-` and `_`, or an address. Others can stand in a URL, such as `a;b`, and in a content
/// security policy would say something else.
fn has_plain_host(uri: &url::Url) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
    match uri.host() {
        Some(url::Host::Domain(name)) => name.bytes().all(is_plain),
        Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
        None => false,
    }
}

/// An https URI with a host, without a user name, and without a character that would have to be escaped.
pub(crate) fn is_https(uri: &str) -> bool {
    let is_plain = |octet: u8| matches!(octet, 0x21..=0x7e) && !b"\"<>\\`{}|^".contains(&octet);
    uri.len() <= 2048
        && uri.bytes().all(is_plain)
        && url::Url::parse(uri).is_ok_and(|uri| {
            uri.scheme() == "https"
                && has_plain_host(&uri)
                && uri.username().is_empty()
                && uri.password().is_none()
        })
}

/// https, and not on this machine.
pub(super) fn is_remote(uri: &str) -> bool {
    url::Url::parse(uri).is_ok_and(|uri| uri.scheme() == "https" && !is_loopback(&uri))
}

/// Scheme, host and port of a URI that has them (RFC 6454 §4).
pub(crate) fn origin(uri: &str) -> Option<String> {
    let origin = url::Url::parse(uri).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// Whether a request's redirect URI is registered: equal as octets, but for the port of a native client on a literal
/// loopback address (RFC 8252 §7.3).
pub(crate) fn is_registered(asked: &str, client: &Client) -> bool {
    client.redirect_uris.iter().any(|registered| {
        registered == asked
            || (client.application_type == ApplicationType::Native
                && same_but_port(registered, asked))
    })
}

fn same_but_port(registered: &str, asked: &str) -> bool {
    let split = |uri: &str| -> Option<(&'static str, String)> {
        for literal in ["http://127.0.0.1", "http://[::1]"] {
            if let Some(rest) = uri.strip_prefix(literal) {
                let path = match rest.strip_prefix(':') {
                    Some(rest) => {
                        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                        rest[..digits].parse::<u16>().ok()?;
                        &rest[digits..]
                    }
                    None => rest,
                };
                return (path.is_empty() || path.starts_with(['/', '?']))
                    .then(|| (literal, path.to_owned()));
            }
        }
        None
    };
    match (split(registered), split(asked)) {
        (Some(registered), Some(asked)) => registered == asked,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for (uri, expected) in [
            ("https://rp.example/cb?x", Some("https://rp.example")),
            ("https://rp.example:443/", Some("https://rp.example")),
            ("https://RP.example/", Some("https://rp.example")),
            ("https://rp.example:8443/", Some("https://rp.example:8443")),
            ("http://127.0.0.1:9/cb", Some("http://127.0.0.1:9")),
            ("com.example.app:/cb", None),
        ] {
            assert_eq!(origin(uri).as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn what_may_be_registered() {
        use ApplicationType::{Native, Web};
        let rows = [
            ("https://rp.example/cb?x=1", Web, true),
            ("http://127.0.0.1:9/cb", Web, true),
            ("http://[::1]/cb", Web, true),
            ("http://localhost:3000/cb", Web, true),
            ("com.example.app:/cb", Native, true),
            ("com.example.app:/cb", Web, false),
            ("myapp:/cb", Native, false),
            ("http://rp.example/cb", Web, false),
            ("http://localhost.evil.test/cb", Web, false),
            ("http://127.0.0.1.evil.test/cb", Web, false),
            ("https://rp.example/cb#f", Web, false),
            ("https://user@rp.example/cb", Web, false),
            ("https://rp.example/../cb", Web, false),
            ("https://rp.example\\@evil.test/", Web, false),
            ("https://rp_1.example/cb", Web, true),
            ("https://[2001:db8::1]/cb", Web, true),
            ("https://rp.example;sandbox/cb", Web, false),
            ("https://rp.example,x/cb", Web, false),
            ("https://*/cb", Web, false),
            ("JaVaScRiPt:alert(1)", Native, false),
            ("\tjavascript:alert(1)", Native, false),
            ("data:text/html,x", Native, false),
            ("/cb", Web, false),
        ];
        for (uri, application, wanted) in rows {
            assert_eq!(check(uri, application).is_ok(), wanted, "{uri}");
        }
    }

    #[test]
    fn only_a_literal_loopback_address_may_change_its_port() {
        let rows = [
            ("http://127.0.0.1/cb", "http://127.0.0.1:5123/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]:1/cb", "http://[::1]:2/cb", true),
            ("http://127.0.0.1/cb", "http://127.0.0.1:5123/other", false),
            ("http://127.0.0.1/cb", "http://[::1]/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:x/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false),
            (
                "http://127.0.0.1/cb",
                "http://127.0.0.1.evil.test/cb",
                false,
            ),
            (
                "http://127.0.0.1/cb",
                "http://127.0.0.1@evil.test/cb",
                false,
            ),
            ("http://localhost/cb", "http://localhost:1/cb", false),
            ("https://rp.example/cb", "https://rp.example:444/cb", false),
        ];
        for (registered, asked, wanted) in rows {
            assert_eq!(same_but_port(registered, asked), wanted, "{asked}");
        }
    }
}
