//! Decrypt (RFC 7516, RFC 7518 §4 and §5): what others encrypt to us is opened, and whatever is wrong with it has one
//! answer. S0-2, S2-27.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1;
use serde_json::{Value, json};
use tonic::Code;

use crate::foreign::{self, PLAINTEXT, Wanted};
use crate::running::{GENERATION, KeyService, LEAD, jwks};
use crate::wrap::{AGREEMENT, ENCRYPTIONS, RINGS, RSA, open, refusal};

fn with_rings(more: &[&str]) -> KeyService {
    KeyService::with_rings(&[&RINGS, more].concat())
}

/// The published encryption keys: how each is called, and itself.
async fn published(service: &KeyService) -> Vec<(String, Value)> {
    let published = jwks(&mut service.keys().await).await;
    let set: Value = serde_json::from_slice(&published.jwks).unwrap();
    let jwks = set["keys"].as_array().unwrap();
    let of = |key: &v1::PublishedKey| {
        let jwk = jwks.iter().find(|jwk| jwk["kid"] == key.kid).unwrap();
        (key.ring.clone(), jwk.clone())
    };
    let keys = published.keys.iter().filter(|key| key.r#use == "enc");
    keys.map(of).collect()
}

/// Every "alg" that goes with the key of a ring.
fn algorithms(ring: &str) -> &[&'static str] {
    match ring {
        "request-object/RSA-OAEP" => &RSA[..1],
        "request-object/RSA-OAEP-256" => &RSA[1..],
        _ => &AGREEMENT,
    }
}

#[tokio::test]
async fn s0_2_what_is_addressed_to_us_is_opened() {
    let service = with_rings(&["id-token/ES256"]);
    let mut keys = service.keys().await;
    let published = published(&service).await;
    // The standby is published too, and others may choose it.
    assert_eq!(published.len(), 2 * RINGS.len());
    let mut wanted = Vec::new();
    for (ring, jwk) in &published {
        let is_rsa = jwk["kty"] == "RSA";
        assert_eq!(jwk["use"], "enc");
        // A key to agree with is for four algorithms, so it names none.
        assert_eq!(jwk.get("alg").is_some(), is_rsa, "{jwk}");
        for alg in algorithms(ring) {
            for enc in ENCRYPTIONS {
                let header = json!({ "kid": jwk["kid"], "cty": "JWT" });
                let to = jwk;
                wanted.push(Wanted {
                    alg,
                    enc,
                    to,
                    header,
                });
            }
            // Without a "kid" the ring's keys are tried.
            let header = json!({ "cty": "JWT" });
            let (enc, to) = ("A256GCM", jwk);
            wanted.push(Wanted {
                alg,
                enc,
                to,
                header,
            });
        }
    }
    let tokens = foreign::encrypt(&wanted);
    for (token, Wanted { alg, enc, to, .. }) in tokens.iter().zip(&wanted) {
        let row = format!("S0-2 {alg} {enc} {to}");
        let opened = keys.decrypt(open(token)).await.expect(&row).into_inner();
        assert_eq!(opened.plaintext, PLAINTEXT, "{row}");
        let header: Value = serde_json::from_slice(&opened.header).unwrap();
        let said = (&header["alg"], &header["enc"], &header["cty"]);
        assert_eq!(said, (&(*alg).into(), &(*enc).into(), &"JWT".into()));
    }
}

#[tokio::test]
async fn s2_27_whatever_is_wrong_has_one_answer() {
    let service = with_rings(&["id-token/ES256"]);
    let mut keys = service.keys().await;
    let published = published(&service).await;
    let of = |ring: &str| {
        let name = format!("request-object/{ring}");
        let (_, jwk) = published.iter().find(|(ring, _)| *ring == name).unwrap();
        jwk
    };
    let (rsa, rsa_256, ec) = (of("RSA-OAEP"), of("RSA-OAEP-256"), of("ECDH-ES"));
    let kid = |jwk: &Value| json!({ "kid": jwk["kid"] });
    let extended = |name: &str, value: Value| {
        let mut header = kid(rsa);
        header[name] = value;
        header
    };
    let mut unsupported = extended("crit", json!(["x"]));
    unsupported["x"] = 1.into();
    // All of these are as good as their sender could make them.
    let rows = [
        ("S2-27 good RSA", "RSA-OAEP", "A128GCM", rsa, kid(rsa)),
        ("S2-27 good CBC", "RSA-OAEP", "A128CBC-HS256", rsa, kid(rsa)),
        ("S2-27 good ECDH", "ECDH-ES", "A256GCM", ec, kid(ec)),
        (
            "S2-27 good KW",
            "ECDH-ES+A256KW",
            "A256CBC-HS512",
            ec,
            kid(ec),
        ),
        (
            "compressed",
            "RSA-OAEP",
            "A128GCM",
            rsa,
            extended("zip", "DEF".into()),
        ),
        ("an extension", "RSA-OAEP", "A128GCM", rsa, unsupported),
        (
            "another ring's alg",
            "RSA-OAEP-256",
            "A128GCM",
            rsa,
            kid(rsa),
        ),
        (
            "another ring's key",
            "RSA-OAEP",
            "A128GCM",
            rsa_256,
            kid(rsa_256),
        ),
        (
            "another key's name",
            "RSA-OAEP",
            "A128GCM",
            rsa,
            kid(rsa_256),
        ),
        (
            "a name that nobody has",
            "RSA-OAEP",
            "A128GCM",
            rsa,
            json!({ "kid": "x" }),
        ),
        (
            "a name of a number",
            "RSA-OAEP",
            "A128GCM",
            rsa,
            json!({ "kid": 7 }),
        ),
        (
            "a name that is too long",
            "RSA-OAEP",
            "A128GCM",
            rsa,
            extended("x", "x".repeat(5000).into()),
        ),
    ];
    let wanted: Vec<Wanted<'_>> = rows
        .iter()
        .map(|(_, alg, enc, to, header)| Wanted {
            alg,
            enc,
            to,
            header: header.clone(),
        })
        .collect();
    let mut tokens = foreign::encrypt(&wanted).into_iter();
    let (good, cbc, agreed, wraps) = (
        tokens.next().unwrap(),
        tokens.next().unwrap(),
        tokens.next().unwrap(),
        tokens.next().unwrap(),
    );
    for control in [&good, &cbc, &agreed, &wraps] {
        keys.decrypt(open(control)).await.unwrap();
    }
    let names = rows[4..].iter().map(|(name, ..)| (*name).to_owned());
    let mut bad: Vec<(String, String)> = names.zip(tokens).collect();

    for (name, token) in [
        ("RSA", &good),
        ("CBC", &cbc),
        ("ECDH", &agreed),
        ("KW", &wraps),
    ] {
        for at in 0..5 {
            let mut row = |what: &str, segment: &[u8]| {
                let name = format!("{name}: segment {at} {what}");
                bad.push((name, with_segment(token, at, segment)));
            };
            let octets = segment(token, at);
            row("is longer", &[&*octets, b"x"].concat());
            row("is very long", &vec![7; 100_000]);
            if let [first, rest @ ..] = &*octets {
                row("is changed", &[&[first ^ 1], rest].concat());
                row("is shorter", rest);
                row("is nothing", b"");
            }
        }
    }
    let mut with_header = |name: &str, token: &str, change: &dyn Fn(&mut Value)| {
        let mut header: Value = serde_json::from_slice(&segment(token, 0)).unwrap();
        change(&mut header);
        bad.push((
            name.to_owned(),
            with_segment(token, 0, header.to_string().as_bytes()),
        ));
    };
    for alg in [
        "RSA1_5",
        "none",
        "dir",
        "A128KW",
        "A128GCMKW",
        "PBES2-HS256+A128KW",
        "rsa-oaep",
        "",
    ] {
        with_header(&format!("alg {alg}"), &good, &|header| {
            header["alg"] = alg.into()
        });
    }
    with_header("PBES2 with a count", &good, &|header| {
        header["alg"] = "PBES2-HS512+A256KW".into();
        header["p2s"] = "AAAAAAAAAAA".into();
        header["p2c"] = 2_000_000_000.into();
    });
    for enc in ["A128CBC-HS256", "A256GCM", "XC20P", "none", ""] {
        with_header(&format!("enc {enc}"), &good, &|header| {
            header["enc"] = enc.into()
        });
    }
    let off_curve = "SLW-xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps";
    for (name, member, value) in [
        ("epk off its curve", "y", off_curve.into()),
        ("epk on another curve", "crv", "P-384".into()),
        ("epk on no curve of ours", "crv", "secp256k1".into()),
        ("epk of another kind", "kty", "OKP".into()),
        ("epk with a private key", "d", "AAAA".into()),
        ("epk without x", "x", Value::Null),
    ] {
        for token in [&agreed, &wraps] {
            with_header(name, token, &|header| header["epk"][member] = value.clone());
        }
    }
    with_header("no epk", &agreed, &|header| header["epk"] = Value::Null);
    with_header("apu with padding", &agreed, &|header| {
        header["apu"] = "AA==".into()
    });
    let of_zeros = json!({ "kty": "OKP", "crv": "X25519", "x": "A".repeat(43) });
    with_header("epk of small order", &agreed, &|header| {
        header["kid"] = of("ECDH-ES-X25519")["kid"].clone();
        header["epk"] = of_zeros.clone();
    });
    let header = segment(&good, 0);
    let twice = [&header[..header.len() - 1], br#","alg":"RSA-OAEP"}"#].concat();
    bad.push(("alg twice".to_owned(), with_segment(&good, 0, &twice)));
    for token in ["", ".", "....", "a.b.c", "a.b.c.d.e", &"x".repeat(200_000)] {
        bad.push((format!("{:.20}", token), token.to_owned()));
    }
    bad.push(("a sixth segment".to_owned(), format!("{good}.")));
    bad.push(("a blank".to_owned(), format!("{good} ")));
    for (name, token) in bad {
        let answer = refusal(keys.decrypt(open(&token)).await);
        let expected = (Code::InvalidArgument, "not decrypted".to_owned());
        assert_eq!(answer, expected, "S2-27 {name}");
    }
}

fn segment(token: &str, at: usize) -> Vec<u8> {
    let segment = token.split('.').nth(at).unwrap();
    URL_SAFE_NO_PAD.decode(segment).unwrap()
}

fn with_segment(token: &str, at: usize, octets: &[u8]) -> String {
    let mut segments: Vec<String> = token.split('.').map(str::to_owned).collect();
    segments[at] = URL_SAFE_NO_PAD.encode(octets);
    segments.join(".")
}

#[tokio::test]
async fn s0_2_a_retired_key_decrypts_and_is_not_published() {
    let ring = "request-object/ECDH-ES";
    let service = KeyService::with_rings(&[ring]);
    let mut keys = service.keys().await;
    let before = published(&service).await;
    let wanted = |jwk| Wanted {
        alg: "ECDH-ES",
        enc: "A128GCM",
        to: jwk,
        header: json!({ "kid": jwk["kid"] }),
    };
    let jwks: Vec<&Value> = before.iter().map(|(_, jwk)| jwk).collect();
    let tokens = foreign::encrypt(&[wanted(jwks[0]), wanted(jwks[1])]);
    let rotate = v1::RotateKeyRequest {
        ring: ring.to_owned(),
        dry_run: false,
    };
    service.admin().await.rotate_key(rotate).await.unwrap();
    let later = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap();
        service
            .clock
            .advance(std::time::Duration::from_secs(seconds));
        service.running.keyring().refresh();
    };
    // Keys that are made in the same second are stamped with the seconds after it.
    later(LEAD + GENERATION + 5);
    let after: Vec<Value> = published(&service)
        .await
        .into_iter()
        .map(|(_, jwk)| jwk)
        .collect();
    assert_eq!(after.len(), 2);
    assert!(!after.contains(jwks[0]) && after.contains(jwks[1]));
    for token in &tokens {
        keys.decrypt(open(token)).await.unwrap();
    }
    // The retention is over for the first, and the second is still the active one.
    later(2 * 60 * 60);
    assert_eq!(
        refusal(keys.decrypt(open(&tokens[0])).await).0,
        Code::InvalidArgument
    );
    keys.decrypt(open(&tokens[1])).await.unwrap();
}
