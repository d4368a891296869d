//! Claims that are JSON as it should be, and not what may be signed.

use proto::v1::Profile;
use proto::v1::Profile::{
    AccessToken, AuthorizationResponse, IdToken, Introspection, LogoutToken, Userinfo,
};
use serde_json::{Value, json};

use super::{ACCESS, ID, Row, changed, item, ordinary, refused, sign_one};
use crate::running::{ISSUER, TOKEN_ISSUER};

type Changes = fn(i64) -> Value;

const NOTHING: Changes = |_| json!({});

pub(super) fn rows() -> Vec<Row> {
    let mut rows = issuers();
    rows.extend(confusions());
    rows.extend(table(TIMES));
    rows.extend(table(AUDIENCES));
    rows.extend(table(NAMES));
    rows
}

/// What, by which rule, as what, how it is changed, and how the nearest legal one is.
type Line = (&'static str, &'static str, Profile, Changes, Changes);

fn table(lines: &[Line]) -> Vec<Row> {
    let row = |&(what, rule, profile, attack, control): &Line| {
        refused(
            what,
            rule,
            changed(profile, attack),
            changed(profile, control),
        )
    };
    lines.iter().map(row).collect()
}

/// Everything that is almost our name.
fn issuers() -> Vec<Row> {
    let names = [
        "https://evil.example".to_owned(),
        format!("{ISSUER}/"),
        format!("{ISSUER}:443"),
        format!("{ISSUER}/realm"),
        format!("{ISSUER}?"),
        format!("{ISSUER}#"),
        format!("{ISSUER}."),
        format!("{ISSUER} "),
        format!(" {ISSUER}"),
        format!("{ISSUER}\0"),
        format!("{ISSUER}\n"),
        format!("{ISSUER}\u{200d}"),
        format!("{ISSUER}@evil.example"),
        format!("{ISSUER}.evil.example"),
        format!("https://evil.example/{ISSUER}"),
        ISSUER.to_uppercase(),
        ISSUER.replace("https", "HTTPS"),
        ISSUER.replace("https", "http"),
        ISSUER.replace("issuer", "Issuer"),
        // Cyrillic і, full-width letters, a soft hyphen, and an escape of URLs.
        ISSUER.replace('i', "\u{456}"),
        ISSUER.replace("issuer", "\u{ff49}ssuer"),
        ISSUER.replace("issuer", "is\u{ad}suer"),
        ISSUER.replace("issuer", "%69ssuer"),
        format!("{TOKEN_ISSUER}2"),
        TOKEN_ISSUER.to_uppercase(),
        format!("{ISSUER} {TOKEN_ISSUER}"),
    ];
    names
        .into_iter()
        .map(|name| {
            let what = format!("issuer {name:?}");
            let attack = Box::new(move |loot: &super::Loot| {
                let (ring, mut claims) = ordinary(IdToken, loot.now);
                claims["iss"] = json!(name);
                sign_one(item(ring, IdToken, &claims))
            });
            refused(
                &what,
                "issuer",
                attack,
                changed(IdToken, |_| json!({ "iss": TOKEN_ISSUER })),
            )
        })
        .collect()
}

/// One kind of JWT for another.
fn confusions() -> Vec<Row> {
    let mut rows = table(CONFUSIONS);
    // What, by whose ring, as which profile, with the claims of which.
    for (what, ring, profile, claims) in [
        (
            "an access token by the ring of ID tokens",
            ID,
            AccessToken,
            AccessToken,
        ),
        (
            "an ID token by the ring of access tokens",
            ACCESS,
            IdToken,
            IdToken,
        ),
        (
            "a logout token by the ring of access tokens",
            ACCESS,
            LogoutToken,
            LogoutToken,
        ),
        (
            "userinfo by the ring of access tokens",
            ACCESS,
            Userinfo,
            Userinfo,
        ),
        (
            "a client assertion by the ring of ID tokens",
            ID,
            Profile::ClientAssertion,
            IdToken,
        ),
    ] {
        let attack = Box::new(move |loot: &super::Loot| {
            let (_, claims) = ordinary(claims, loot.now);
            sign_one(item(ring, profile, &claims))
        });
        rows.push(refused(what, "profile", attack, changed(claims, NOTHING)));
    }
    rows
}

#[rustfmt::skip]
const CONFUSIONS: &[Line] = &[
    ("an ID token as logout token", "claims.required", LogoutToken,
        |_| json!({ "events": null }), NOTHING),
    ("a logout token as ID token", "claims.allowed", IdToken,
        |_| json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }), NOTHING),
    ("a logout token that passes for an ID token", "claims.forbidden", LogoutToken,
        |_| json!({ "nonce": "n" }), NOTHING),
    ("a logout token of nobody", "claims.required", LogoutToken,
        |_| json!({ "sub": null }), |_| json!({ "sub": null, "sid": "s" })),
    ("a logout token without an event", "claims.type", LogoutToken,
        |_| json!({ "events": ["http://schemas.openid.net/event/backchannel-logout"] }), NOTHING),
    ("a logout token without a jti", "claims.required", LogoutToken, |_| json!({ "jti": null }), NOTHING),
    ("userinfo as access token", "claims.required", AccessToken,
        |_| json!({ "client_id": null, "jti": null, "exp": null, "iat": null }), NOTHING),
    ("an ID token as access token", "claims.required", AccessToken,
        |_| json!({ "client_id": null, "jti": null }), NOTHING),
    ("an ID token as userinfo", "claims.forbidden", Userinfo,
        |now| json!({ "exp": now + 600, "iat": now }), NOTHING),
    ("an ID token as userinfo, by its nonce", "claims.forbidden", Userinfo, |_| json!({ "nonce": "n" }), NOTHING),
    ("an ID token as authorization response", "claims.forbidden", AuthorizationResponse,
        |now| json!({ "sub": "alice", "iat": now }), |now| json!({ "iat": now })),
    ("an access token as introspection", "claims.forbidden", Introspection,
        |_| json!({ "sub": "alice" }), NOTHING),
    ("introspection that lives", "claims.forbidden", Introspection, |now| json!({ "exp": now + 60 }), NOTHING),
    ("introspection of nothing", "claims.type", Introspection,
        |_| json!({ "token_introspection": "active" }), NOTHING),
];

#[rustfmt::skip]
const TIMES: &[Line] = &[
    ("longer than its rule", "lifetime", IdToken, |now| json!({ "exp": now + 901 }), |now| json!({ "exp": now + 900 })),
    ("longer than its ring", "lifetime", AccessToken, |now| json!({ "exp": now + 601 }), |now| json!({ "exp": now + 600 })),
    ("longer than any", "lifetime", LogoutToken, |now| json!({ "exp": now + 3601 }), |now| json!({ "exp": now + 3600 })),
    ("for ever", "lifetime", IdToken, |_| json!({ "exp": 253_402_300_799_i64 }), NOTHING),
    ("longer, issued before", "lifetime", IdToken,
        |now| json!({ "iat": now - 20, "exp": now + 881 }), |now| json!({ "iat": now - 20, "exp": now + 880 })),
    ("for no time", "exp", IdToken, |now| json!({ "exp": now }), |now| json!({ "exp": now + 60 })),
    ("for no time since 1970", "exp", IdToken, |_| json!({ "exp": 0 }), NOTHING),
    ("over already", "exp", IdToken, |now| json!({ "exp": now - 1 }), NOTHING),
    ("a negative end", "claims.type", IdToken, |_| json!({ "exp": -1 }), NOTHING),
    ("the lowest number", "claims.type", IdToken, |_| json!({ "exp": i64::MIN }), NOTHING),
    ("the highest number", "claims.type", IdToken, |_| json!({ "exp": i64::MAX }), NOTHING),
    ("a number that nobody has room for", "claims.type", IdToken, |_| json!({ "exp": u64::MAX }), NOTHING),
    ("2^53 + 1", "claims.type", IdToken, |_| json!({ "exp": (1_i64 << 53) + 1 }), NOTHING),
    ("1e99", "claims.type", IdToken, |_| json!({ "exp": 1e99 }), NOTHING),
    ("a fraction", "claims.type", IdToken, |now| json!({ "exp": now as f64 + 60.5 }), NOTHING),
    ("a string", "claims.type", IdToken, |now| json!({ "exp": (now + 60).to_string() }), NOTHING),
    ("a list", "claims.type", IdToken, |now| json!({ "exp": [now + 60] }), NOTHING),
    ("a truth", "claims.type", IdToken, |_| json!({ "exp": true }), NOTHING),
    ("no end", "claims.required", IdToken, |_| json!({ "exp": null }), NOTHING),
    ("no end, of an access token", "claims.required", AccessToken, |_| json!({ "exp": null }), NOTHING),
    ("issued half a minute ago", "iat", IdToken, |now| json!({ "iat": now - 32 }), |now| json!({ "iat": now - 10 })),
    ("issued in half a minute", "iat", IdToken, |now| json!({ "iat": now + 40 }), |now| json!({ "iat": now + 20 })),
    ("issued more than a minute ago", "iat", AccessToken, |now| json!({ "iat": now - 62 }), |now| json!({ "iat": now - 40, "exp": now + 500 })),
    ("issued in more than a minute", "iat", AccessToken, |now| json!({ "iat": now + 70 }), |now| json!({ "iat": now + 20 })),
    ("issued tomorrow, for a minute", "iat", IdToken,
        |now| json!({ "iat": now + 86_400, "exp": now + 86_460 }), NOTHING),
    ("issued in 1970", "iat", IdToken, |_| json!({ "iat": 0 }), NOTHING),
    ("issued before 1970", "claims.type", IdToken, |_| json!({ "iat": -1 }), NOTHING),
    ("issued never", "claims.required", IdToken, |_| json!({ "iat": null }), NOTHING),
    ("a beginning that is no time", "claims.type", IdToken, |_| json!({ "nbf": "0" }), |now| json!({ "nbf": now })),
    ("a sign-in that is no time", "claims.type", IdToken, |_| json!({ "auth_time": 1.5 }), |now| json!({ "auth_time": now })),
];

#[rustfmt::skip]
const AUDIENCES: &[Line] = &[
    ("another audience", "audience", IdToken, |_| json!({ "aud": "evil" }), NOTHING),
    ("another among ours", "audience", IdToken, |_| json!({ "aud": ["client", "evil"] }), |_| json!({ "aud": ["client", "r-1"] })),
    ("another before ours", "audience", AccessToken, |_| json!({ "aud": ["evil", "client"] }), |_| json!({ "aud": ["client"] })),
    ("another at userinfo", "audience", Userinfo, |_| json!({ "aud": "evil" }), NOTHING),
    ("another's logout", "audience", LogoutToken, |_| json!({ "aud": "evil" }), NOTHING),
    ("another's introspection", "audience", Introspection, |_| json!({ "aud": "evil" }), NOTHING),
    ("of another case", "audience", IdToken, |_| json!({ "aud": "Client" }), NOTHING),
    ("with a space", "audience", IdToken, |_| json!({ "aud": "client " }), NOTHING),
    ("with a zero octet", "audience", IdToken, |_| json!({ "aud": "client\0" }), NOTHING),
    ("of letters that look alike", "audience", IdToken, |_| json!({ "aud": "\u{441}lient" }), NOTHING),
    ("a pattern's middle", "audience", IdToken, |_| json!({ "aud": "xr-1" }), |_| json!({ "aud": "r-1" })),
    ("a pattern itself, of another case", "audience", IdToken, |_| json!({ "aud": "R-*" }), |_| json!({ "aud": "r-*" })),
    ("more than a pattern", "audience", AccessToken,
        |_| json!({ "aud": "https://a.example/api.evil.test" }), |_| json!({ "aud": "https://a.example/api" })),
    ("two in one", "audience", IdToken, |_| json!({ "aud": "client r-1" }), NOTHING),
    ("nobody", "claims.type", IdToken, |_| json!({ "aud": [] }), NOTHING),
    ("an empty name", "claims.type", IdToken, |_| json!({ "aud": "" }), NOTHING),
    ("an empty name among others", "claims.type", IdToken, |_| json!({ "aud": ["client", ""] }), NOTHING),
    ("nested", "claims.type", IdToken, |_| json!({ "aud": ["client", ["evil"]] }), NOTHING),
    ("an object", "claims.type", IdToken, |_| json!({ "aud": { "client": "evil" } }), NOTHING),
    ("absent", "claims.required", AccessToken, |_| json!({ "aud": null }), NOTHING),
];

#[rustfmt::skip]
const NAMES: &[Line] = &[
    ("somebody's actor", "claims.forbidden", AccessToken, |_| json!({ "act": { "sub": "admin" } }), NOTHING),
    ("whoever may act", "claims.forbidden", AccessToken, |_| json!({ "may_act": {} }), NOTHING),
    ("no scope", "claims.required", AccessToken, |_| json!({ "scope": null }), NOTHING),
    ("no client", "claims.required", AccessToken, |_| json!({ "client_id": null }), NOTHING),
    ("no name of its own", "claims.required", AccessToken, |_| json!({ "jti": null }), NOTHING),
    ("no subject", "claims.required", IdToken, |_| json!({ "sub": null }), NOTHING),
    ("an empty subject", "claims.type", IdToken, |_| json!({ "sub": "" }), NOTHING),
    ("a subject that is a number", "claims.type", IdToken, |_| json!({ "sub": 1 }), NOTHING),
    ("several subjects", "claims.type", IdToken, |_| json!({ "sub": ["alice", "admin"] }), NOTHING),
    ("a client that is a list", "claims.type", AccessToken, |_| json!({ "client_id": ["client"] }), NOTHING),
    ("no issuer", "claims.required", IdToken, |_| json!({ "iss": null }), NOTHING),
    ("several issuers", "claims.type", IdToken, |_| json!({ "iss": [ISSUER, "https://evil.example"] }), NOTHING),
    ("a claim that nobody named", "claims.allowed", IdToken, |_| json!({ "admin": true }), |_| json!({ "name": "Alice" })),
    ("a claim without a name", "claims.allowed", IdToken, |_| json!({ "": 1 }), NOTHING),
    ("a name of another case", "claims.allowed", IdToken, |_| json!({ "Sub": "admin" }), NOTHING),
    ("a name that looks alike", "claims.allowed", IdToken, |_| json!({ "\u{455}ub": "admin" }), NOTHING),
    ("a name with a zero octet", "claims.allowed", IdToken, |_| json!({ "sub\0": "admin" }), NOTHING),
    ("a header: alg", "claims.allowed", IdToken, |_| json!({ "alg": "none" }), NOTHING),
    ("a header: kid", "claims.allowed", IdToken, |_| json!({ "kid": "evil" }), NOTHING),
    ("a header: typ", "claims.allowed", IdToken, |_| json!({ "typ": "at+jwt" }), NOTHING),
    ("headers, where they are claims like others", "claims.forbidden", AccessToken,
        |_| json!({ "act": {}, "alg": "none", "kid": "evil", "typ": "JWT" }),
        |_| json!({ "alg": "none", "kid": "evil", "typ": "JWT", "jku": "https://evil.example", "crit": ["x"], "x5c": [], "jwk": {} })),
    ("a header: crit", "claims.allowed", IdToken, |_| json!({ "crit": ["exp"] }), NOTHING),
    ("larger than its rule", "size", IdToken, |_| json!({ "name": "x".repeat(2048) }), |_| json!({ "name": "x".repeat(1800) })),
    ("larger than any", "size", LogoutToken, |_| json!({ "x": "x".repeat(66_000) }), |_| json!({ "x": "x".repeat(16_000) })),
];
