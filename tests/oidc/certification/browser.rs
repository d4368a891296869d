//! The pages of the profile in a real browser, driven by `tests/browser/certification.js`; its screenshots are what a
//! tester is asked for.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::relying_party::{Auth, RelyingParty};
use super::row;
use crate::params::Params;

const CALLBACK: &str = "/callback";
const PAGE: &str =
    "<!DOCTYPE html><title>Relying party</title><p id=\"landed\">Back at the relying party";

#[tokio::test]
async fn pages() {
    row(
        "Basic, Form Post, Dynamic",
        "code",
        "pages in Chromium S4-7 S4-9",
    );
    let rp = RelyingParty::with(Auth::Basic, "code", |server, _| {
        json!({
            "redirect_uris": [server.put(CALLBACK, "text/html", PAGE)],
            "logo_uri": server.put("/logo.svg", "image/svg+xml", LOGO),
            "policy_uri": server.url("/policy"),
            "tos_uri": server.url("/tos"),
        })
    });
    let rp = rp.await;
    let endpoint = rp.endpoint("authorization_endpoint");
    let url = |more: &[(&str, &str)]| format!("{endpoint}?{}", rp.request().with(more).encode());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let flow = json!({
        "requests": {
            "login": url(&[]),
            "german": url(&[("ui_locales", "de-CH de")]),
            "french": url(&[("ui_locales", "fr")]),
            "form_post": url(&[("response_mode", "form_post")]),
            "fragment": url(&[("response_mode", "fragment")]),
            "account": url(&[("prompt", "select_account")]),
            "unknown": url(&[("client_id", "nobody")]),
        },
        "callback": rp.redirect_uri(),
        "links": {
            "logo": rp.client["logo_uri"], "policy": rp.client["policy_uri"], "tos": rp.client["tos_uri"],
        },
        "hosts": ["op.test"],
        "username": "alice",
        "password": "alice-password",
        "screenshots": root.join("target/screenshots"),
    });
    let mut node = Command::new("node");
    node.arg("certification.js")
        .arg(flow.to_string())
        .current_dir(root.join("tests/browser"));
    // The relying party serves meanwhile.
    let output = tokio::task::spawn_blocking(move || node.output());
    let output = output.await.unwrap().expect("node is installed");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // What came by the form is a code that works.
    let posted = rp.server.all_seen(CALLBACK);
    let posted: Vec<_> = posted.iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0].content_type, "application/x-www-form-urlencoded");
    let fields = Params::decode(&posted[0].body).into_map();
    assert_eq!(fields["iss"], rp.site.issuer());
    let answer = rp.token(rp.redemption(&fields["code"])).await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
}

const LOGO: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 8 8\"><circle cx=\"4\" cy=\"4\" r=\"4\"/></svg>";
