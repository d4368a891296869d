//! Requests that are out of shape, ask for what is others', or go another way round.

use proto::v1::Profile::{AccessToken, IdToken, LogoutToken};
use proto::v1::{self, MacPurpose, Profile, decrypt_request, mac_request, sign_item, wrap_request};
use serde_json::{Value, json};
use tonic::Code::{self, FailedPrecondition, InvalidArgument, PermissionDenied};

use super::{
    ACCESS, CONTEXT, ID, Loot, Make, Method, OTHERS, Request, Row, changed, id_token, item,
    ordinary, sign_one,
};
use crate::running::verification;

const NOT_ALLOWED: &str = "not allowed";
const ONCE: &[u8] = b"a key that is good for one thing";

type Attack = fn(&Loot) -> Request;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = rings();
    rows.extend(table(ITEMS));
    rows.extend(table(SECRETS));
    rows.extend(table(OTHER_CALLS));
    rows.extend(administration());
    rows
}

/// What, with which answer, and what the nearest legal request is.
type Line = (&'static str, Code, &'static str, Attack, Attack);

fn table(lines: &'static [Line]) -> Vec<Row> {
    let row = |&(what, code, message, attack, control): &Line| Row {
        what: what.to_owned(),
        attack: Box::new(attack),
        code,
        message,
        control: Box::new(control),
    };
    lines.iter().map(row).collect()
}

fn good(loot: &Loot) -> v1::SignItem {
    let (ring, claims) = ordinary(IdToken, loot.now);
    item(ring, IdToken, &claims)
}

fn access(loot: &Loot) -> v1::SignItem {
    let (ring, claims) = ordinary(AccessToken, loot.now);
    item(ring, AccessToken, &claims)
}

fn legal(loot: &Loot) -> Request {
    sign_one(good(loot))
}

/// KS-05, KS-06: rings of others and rings that there are not, with one answer for all.
fn rings() -> Vec<Row> {
    [
        OTHERS,
        "client-assertion/*",
        "id-token/ES384",
        "id-token/RS256",
        "id-token/*",
        "*",
        "",
        "/",
        "id-token",
        "id-token/",
        "/ES256",
        "ID-token/ES256",
        "id-token/es256",
        "id-token/ES256 ",
        " id-token/ES256",
        "id-token/ES256\0",
        "id-token//ES256",
        "x/../id-token/ES256",
        "id-token/none",
        "audit/EdDSA",
        "audit/ES256",
        "secret/HS256",
        "mac/HS256",
        "seal/A256GCM",
        "pairwise-subject/HS256",
    ]
    .into_iter()
    .map(|ring| Row {
        what: format!("the ring {ring:?}"),
        attack: Box::new(move |loot| sign_one(item(ring, IdToken, &id_token(loot.now)))),
        code: PermissionDenied,
        message: NOT_ALLOWED,
        control: changed(IdToken, |_| json!({})),
    })
    .collect()
}

/// The two of a token response, with these hashes.
fn pair(loot: &Loot, hashes: &[(&str, u32)]) -> Vec<v1::SignItem> {
    let mut id = good(loot);
    id.hash_of = hashes
        .iter()
        .map(|&(claim, item)| v1::HashOf {
            claim: claim.to_owned(),
            item,
        })
        .collect();
    vec![id, access(loot)]
}

fn legal_pair(loot: &Loot) -> Request {
    Request::Sign(pair(loot, &[("at_hash", 1)]))
}

fn with(item: v1::SignItem, change: impl FnOnce(&mut v1::SignItem)) -> v1::SignItem {
    let mut item = item;
    change(&mut item);
    item
}

fn once(loot: &Loot, sub: &str) -> v1::SignItem {
    let mut claims = id_token(loot.now);
    claims["sub"] = json!(sub);
    with(item(ID, IdToken, &claims), |it| {
        it.once_key = Some(ONCE.into())
    })
}

/// The attack on a `once_key` is one when something was signed for it.
pub(super) fn signed_before(items: &[v1::SignItem]) -> Vec<Request> {
    let [item] = items else {
        return Vec::new();
    };
    let mut first = item.clone();
    match serde_json::from_slice::<Value>(&item.claims) {
        Ok(mut claims) if item.once_key.as_deref() == Some(ONCE) => {
            claims["sub"] = json!("alice");
            first.claims = claims.to_string().into();
            vec![sign_one(first)]
        }
        _ => Vec::new(),
    }
}

#[rustfmt::skip]
const ITEMS: &[Line] = &[
    ("nothing to sign", InvalidArgument, "from 1 to 16 items are signed at a time",
        |_| Request::Sign(Vec::new()), legal),
    ("seventeen items", InvalidArgument, "from 1 to 16 items are signed at a time",
        |loot| Request::Sign(vec![good(loot); 17]), |loot| Request::Sign(vec![good(loot); 16])),
    ("one that is not allowed among good ones", FailedPrecondition, "audience",
        |loot| Request::Sign(vec![good(loot), item(ID, IdToken, &{ let mut it = id_token(loot.now); it["aud"] = json!("evil"); it })]),
        |loot| Request::Sign(vec![good(loot); 2])),
    ("no profile", InvalidArgument, "profile is missing or unknown",
        |loot| sign_one(with(good(loot), |it| it.profile = 0)), legal),
    ("a profile that there is not", InvalidArgument, "profile is missing or unknown",
        |loot| sign_one(with(good(loot), |it| it.profile = 99)), legal),
    ("no key", InvalidArgument, "key is missing", |loot| sign_one(with(good(loot), |it| it.key = None)), legal),
    ("a hash of itself", InvalidArgument, "hash_of.item is not an item without a hash_of and without encrypt_to",
        |loot| Request::Sign(pair(loot, &[("at_hash", 0)])), legal_pair),
    ("hashes in a circle", InvalidArgument, "hash_of.item is not an item without a hash_of and without encrypt_to",
        |loot| { let mut two = pair(loot, &[("at_hash", 1)]); two[1].hash_of = pair(loot, &[("at_hash", 0)])[0].hash_of.clone(); Request::Sign(two) }, legal_pair),
    ("a hash of nothing", InvalidArgument, "hash_of.item is not an item without a hash_of and without encrypt_to",
        |loot| Request::Sign(pair(loot, &[("at_hash", u32::MAX)])), legal_pair),
    ("five hashes", InvalidArgument, "an item has at most 4 hash_of",
        |loot| Request::Sign(pair(loot, &[("at_hash", 1); 5])), legal_pair),
    ("a hash that nobody named", FailedPrecondition, "claims.allowed",
        |loot| Request::Sign(pair(loot, &[("evil_hash", 1)])), legal_pair),
    ("a hash for a subject", InvalidArgument, "hash_of.claim is not the name of a hash",
        |loot| Request::Sign(vec![with(access(loot), |it| it.hash_of = pair(loot, &[("sub2", 1)])[0].hash_of.clone()), access(loot)]),
        legal_pair),
    ("a hash that is there", InvalidArgument, "hash_of.claim is among the claims already",
        |loot| { let mut two = pair(loot, &[("at_hash", 1)]); let mut it = id_token(loot.now); it["at_hash"] = json!("x"); two[0].claims = it.to_string().into(); Request::Sign(two) },
        legal_pair),
    ("encrypted to what is no key", InvalidArgument, "key not accepted",
        |loot| sign_one(with(good(loot), |it| it.encrypt_to = Some(v1::Recipient {
            key: Some(v1::recipient::Key::Jwk("{}".into())), alg: "RSA-OAEP".to_owned(), enc: "A128GCM".to_owned(), cty: String::new() }))), legal),
    ("encrypted as something else", InvalidArgument, "encrypt_to.cty is not JWT",
        |loot| sign_one(with(good(loot), |it| it.encrypt_to = Some(v1::Recipient { cty: "at+jwt".to_owned(), ..v1::Recipient::default() }))), legal),
    ("something else for a code", FailedPrecondition, "once",
        |loot| sign_one(once(loot, "admin")), |loot| sign_one(with(once(loot, "admin"), |it| it.once_key = Some(b"another key than it".as_slice().into())))),
    ("a once_key that can be guessed", InvalidArgument, "once_key is not 16 to 64 octets long",
        |loot| sign_one(with(good(loot), |it| it.once_key = Some("guessed".into()))), legal),
    ("a once_key of any length", InvalidArgument, "once_key is not 16 to 64 octets long",
        |loot| sign_one(with(good(loot), |it| it.once_key = Some(vec![7; 65].into()))), legal),
    ("two for one code", InvalidArgument, "once_key is there twice",
        |loot| Request::Sign(vec![with(good(loot), |it| it.once_key = Some(vec![7; 20].into())); 2]), |loot| Request::Sign(vec![good(loot); 2])),
];

fn by_secret(loot: &Loot, profile: Profile) -> v1::SignItem {
    let (_, claims) = ordinary(profile, loot.now);
    let mut item = item("", profile, &claims);
    item.key = Some(sign_item::Key::WrappedSecret(loot.secret.clone()));
    item
}

fn secret(loot: &Loot, change: fn(&mut v1::WrappedSecret)) -> Request {
    let mut secret = loot.secret.clone();
    change(&mut secret);
    sign_one(with(by_secret(loot, IdToken), |it| {
        it.key = Some(sign_item::Key::WrappedSecret(secret))
    }))
}

fn legal_secret(loot: &Loot) -> Request {
    sign_one(by_secret(loot, IdToken))
}

#[rustfmt::skip]
const SECRETS: &[Line] = &[
    ("an access token by a client's secret", FailedPrecondition, "profile",
        |loot| sign_one(by_secret(loot, AccessToken)), legal_secret),
    ("another audience by a client's secret", FailedPrecondition, "audience",
        |loot| sign_one(with(by_secret(loot, IdToken), |it| { let mut claims = id_token(loot.now); claims["aud"] = json!("evil"); it.claims = claims.to_string().into(); })), legal_secret),
    ("a logout of others by a client's secret", FailedPrecondition, "claims.required",
        |loot| sign_one(with(by_secret(loot, LogoutToken), |it| it.claims = id_token(loot.now).to_string().into())),
        |loot| sign_one(by_secret(loot, LogoutToken))),
    ("a secret for another client", InvalidArgument, "not decrypted", |loot| secret(loot, |it| it.context.push('2')), legal_secret),
    ("a secret that is told", PermissionDenied, NOT_ALLOWED, |loot| secret(loot, |it| it.context = "client-secret:client".to_owned()), legal_secret),
    ("a secret that is not sealed", InvalidArgument, "not decrypted", |loot| secret(loot, |it| it.sealed = "0123456789abcdef0123456789abcdef".to_owned()), legal_secret),
    ("a secret with none", InvalidArgument, "wrapped_secret.alg is not HS256, HS384 or HS512", |loot| secret(loot, |it| it.alg = "none".to_owned()), legal_secret),
    ("a secret with ES256", InvalidArgument, "wrapped_secret.alg is not HS256, HS384 or HS512", |loot| secret(loot, |it| it.alg = "ES256".to_owned()), legal_secret),
    ("a secret that is too short", FailedPrecondition, "secret.length", |loot| secret(loot, |it| it.alg = "HS512".to_owned()), legal_secret),
];

fn mac(purpose: MacPurpose, ring: &str, input: &str) -> Request {
    Request::Mac(v1::MacRequest {
        purpose: purpose.into(),
        key: Some(mac_request::Key::Ring(ring.to_owned())),
        input: input.to_owned().into(),
        steps: Vec::new(),
    })
}

fn legal_mac(_: &Loot) -> Request {
    mac(MacPurpose::OpaqueToken, "mac/HS256", "input")
}

fn unseal(sealed: &str, context: &str) -> Request {
    Request::Decrypt(v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::Sealed(v1::Sealed {
            sealed: sealed.to_owned(),
            context: context.to_owned(),
        })),
    })
}

fn wrap(context: &str) -> Request {
    Request::Wrap(v1::WrapRequest {
        plaintext: "x".into(),
        to: Some(wrap_request::To::Context(context.to_owned())),
    })
}

#[rustfmt::skip]
const OTHER_CALLS: &[Line] = &[
    ("a client's secret, told", PermissionDenied, NOT_ALLOWED, |loot| unseal(&loot.secret.sealed, CONTEXT), legal_secret),
    ("the same under a context that is told", InvalidArgument, "not decrypted", |loot| unseal(&loot.secret.sealed, "client-secret:client"), legal_secret),
    ("the same under none", InvalidArgument, "not decrypted", |loot| unseal(&loot.secret.sealed, ""), legal_secret),
    ("the same as a JWE to us", InvalidArgument, "not decrypted",
        |loot| Request::Decrypt(v1::DecryptRequest { ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(loot.secret.sealed.clone())) }), legal_secret),
    ("nothing to decrypt", InvalidArgument, "ciphertext is missing", |_| Request::Decrypt(v1::DecryptRequest::default()), legal_secret),
    ("sealed under no context", InvalidArgument, "context is empty or too long", |_| wrap(""), |_| wrap("session:1")),
    ("sealed under a long one", InvalidArgument, "context is empty or too long", |_| wrap(&"c".repeat(257)), |_| wrap(&"c".repeat(256))),
    ("a MAC of no purpose", InvalidArgument, "purpose is missing or unknown", |_| mac(MacPurpose::Unspecified, "mac/HS256", "x"), legal_mac),
    ("a pairwise subject by another ring", FailedPrecondition, "purpose", |_| mac(MacPurpose::PairwiseSubject, "mac/HS256", "x"), legal_mac),
    ("an opaque token by the ring of subjects", FailedPrecondition, "purpose", |_| mac(MacPurpose::OpaqueToken, "pairwise-subject/HS256", "x"), legal_mac),
    ("a MAC by a key that signs", FailedPrecondition, "purpose", |_| mac(MacPurpose::OpaqueToken, ID, "eyJhbGciOiJIUzI1NiJ9.e30"), legal_mac),
    ("a MAC by a key that seals", FailedPrecondition, "purpose", |_| mac(MacPurpose::OpaqueToken, "seal/A256GCM", "x"), legal_mac),
    ("a MAC by a ring of others", PermissionDenied, NOT_ALLOWED, |_| mac(MacPurpose::OpaqueToken, OTHERS, "x"), legal_mac),
    ("a MAC by no ring", PermissionDenied, NOT_ALLOWED, |_| mac(MacPurpose::OpaqueToken, "mac/HS512", "x"), legal_mac),
    ("a MAC of nothing", InvalidArgument, "input is from 1 to 4096 octets", |_| mac(MacPurpose::OpaqueToken, "mac/HS256", ""), legal_mac),
    ("one-time codes by a ring", InvalidArgument, "key is not a wrapped secret", |_| mac(MacPurpose::Totp, "mac/HS256", ""), legal_mac),
    ("a signature of nobody's by a ring of others", PermissionDenied, NOT_ALLOWED,
        |_| Request::Verify(verification("a.b.c", "ES256", v1::verify_request::Key::Ring(OTHERS.to_owned()))), legal),
    ("a signature with none", InvalidArgument, "not verified",
        |_| Request::Verify(verification("eyJhbGciOiJub25lIn0.e30.", "none", v1::verify_request::Key::Ring(ACCESS.to_owned()))), legal),
];

fn administration() -> Vec<Row> {
    use Method::{Destroy, Disable, Enable, Info, List, ReadAudit, Revoke, Rotate, VerifyAudit};
    [
        Rotate,
        Revoke,
        Disable,
        Enable,
        Destroy,
        List,
        Info,
        ReadAudit,
        VerifyAudit,
    ]
    .into_iter()
    .map(|method| {
        let attack: Make = Box::new(move |_| Request::Administer(method));
        Row {
            what: format!("{method:?}"),
            attack,
            code: PermissionDenied,
            message: NOT_ALLOWED,
            control: changed(IdToken, |_| json!({})),
        }
    })
    .collect()
}
