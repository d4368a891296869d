//! The relying party's HTML.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Login, Settings};

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--accent:#2457d6}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
a.button{display:inline-block;background:var(--accent);color:#fff;padding:.6rem 1.2rem;border-radius:.5rem;
text-decoration:none}a.button:focus-visible{outline:3px solid #f90;outline-offset:2px}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}th{white-space:nowrap;font-weight:600;width:1%}
code,pre{font:0.9rem/1.5 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}
pre{border:1px solid var(--line);border-radius:.5rem;padding:.6rem}";

/// The first page: who is signed in, if anyone, and what vouches for it.
pub(super) fn home(settings: &Settings, login: Option<&Login>) -> String {
    let Some(login) = login else {
        return page(
            "A relying party",
            "<p>This program knows nothing of Signet but its issuer, a client_id and a secret.</p>\
             <p><a class=\"button\" id=\"sign-in\" href=\"/login\">Sign in with Signet</a></p>",
        );
    };
    let body = format!(
        "<p>Signed in as <strong id=\"subject\">{subject}</strong>.</p>\
         <p><a class=\"button\" id=\"sign-in\" href=\"/login\">Sign in again</a> \
         <a id=\"sign-out\" href=\"/logout\">Sign out</a></p>\
         <h2>The key that signed</h2><table>\
         <tr><th>kid</th><td><code id=\"kid\">{kid}</code></td></tr>\
         <tr><th>alg</th><td><code id=\"alg\">{alg}</code></td></tr>\
         <tr><th>lives in</th><td id=\"location\">{location}</td></tr></table>\
         <p>Rotate it, wait a few seconds, sign in again, and the kid is another:</p>\
         <pre id=\"rotate\">{rotate}</pre>\
         <h2>Verified claims of the ID token</h2>{claims}\
         <h2>From the userinfo endpoint</h2>{user}",
        subject = escape(login.claims["sub"].as_str().unwrap_or_default()),
        kid = escape(&login.kid),
        alg = escape(&login.alg),
        location = escape(&settings.location),
        rotate = escape(&settings.rotate),
        claims = table("claims", &login.claims),
        user = table("userinfo", &login.user),
    );
    page("Signed in", &body)
}

/// Something went wrong.
pub(super) fn failure(message: &str) -> String {
    let body = format!(
        "<p id=\"failure\">{}</p><p><a href=\"/\">Start again</a></p>",
        escape(message)
    );
    page("That did not work", &body)
}

fn table(id: &str, claims: &Value) -> String {
    let mut rows = format!("<table id=\"{id}\">");
    for (name, value) in claims.as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        let _ = write!(
            rows,
            "<tr><th>{}</th><td data-claim=\"{}\">{}</td></tr>",
            escape(name),
            escape(name),
            escape(&value)
        );
    }
    rows.push_str("</table>");
    rows
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
