//! JOSE by other people's code, and for each step by other code than the key-service's: signatures by `jsonwebtoken` and
//! RustCrypto, JWEs by `jose`, the JavaScript library (tests/browser/jose.js).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use key_service::algorithm::SignatureAlgorithm;
use p521::ecdsa::signature::Verifier as _;
use serde_json::{Value, json};

fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    decode(jwk[name].as_str().unwrap())
}

/// Whether somebody else accepts the signature under this JWK.
pub(crate) fn verifies(
    algorithm: SignatureAlgorithm,
    jwk: &Value,
    input: &[u8],
    signature: &[u8],
) -> bool {
    if algorithm == SignatureAlgorithm::Es512 {
        // The one that `jsonwebtoken` does not have.
        let sec1 = [vec![4], member(jwk, "x"), member(jwk, "y")].concat();
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).unwrap();
        let signature = p521::ecdsa::Signature::from_slice(signature).unwrap();
        return key.verify(input, &signature).is_ok();
    }
    let text = |name: &str| jwk[name].as_str().unwrap();
    let key = match text("kty") {
        "RSA" => DecodingKey::from_rsa_components(text("n"), text("e")),
        "EC" => DecodingKey::from_ec_components(text("x"), text("y")),
        _ => DecodingKey::from_ed_components(text("x")),
    };
    let algorithm: Algorithm = algorithm.as_str().parse().unwrap();
    jsonwebtoken::crypto::verify(&encode(signature), input, &key.unwrap(), algorithm).unwrap()
}

/// Has jobs done by `jose`, all in one process; tests/browser/jose.js says what they look like.
fn jose(jobs: &[Value]) -> Vec<Value> {
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let mut node = Command::new("node")
        .arg("jose.js")
        .current_dir(browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node is installed (`make setup`)");
    let mut stdin = node.stdin.take().unwrap();
    let written = stdin.write_all(Value::from(jobs).to_string().as_bytes());
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && written.is_ok(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A compact JWE for somebody else to make.
pub(crate) struct Wanted<'a> {
    pub(crate) alg: &'a str,
    pub(crate) enc: &'a str,
    /// A public JWK.
    pub(crate) to: &'a Value,
    /// Further members of the protected header.
    pub(crate) header: Value,
}

/// What is in them.
pub(crate) const PLAINTEXT: &str = "{}";

/// Compact JWEs as somebody else makes them.
pub(crate) fn encrypt(wanted: &[Wanted<'_>]) -> Vec<String> {
    let jobs: Vec<Value> = wanted
        .iter()
        .map(|wanted| {
            let mut job = json!({
                "do": "encrypt",
                "alg": wanted.alg,
                "enc": wanted.enc,
                "key": wanted.to,
                "plaintext": PLAINTEXT,
                "header": wanted.header,
            });
            // They are hashed into the key.
            if wanted.alg.starts_with("ECDH-ES") && wanted.enc == "A128GCM" {
                job["apu"] = "Alice".into();
                job["apv"] = "Bob".into();
            }
            job
        })
        .collect();
    let tokens = jose(&jobs).into_iter();
    tokens
        .map(|answer| answer["token"].as_str().unwrap().to_owned())
        .collect()
}

/// A recipient that is not the key-service.
#[derive(Clone)]
pub(crate) struct Recipient {
    public: Value,
    private: Value,
}

impl Recipient {
    pub(crate) fn rsa() -> Recipient {
        Recipient::generate(&[("RSA-OAEP", "")]).remove(0)
    }

    pub(crate) fn ec() -> Recipient {
        Recipient::generate(&[("ECDH-ES", "P-256")]).remove(0)
    }

    /// With keys for these "alg"s, on these curves.
    pub(crate) fn generate(kinds: &[(&str, &str)]) -> Vec<Recipient> {
        let jobs: Vec<Value> = kinds
            .iter()
            .map(|(alg, crv)| match *crv {
                "" => json!({ "do": "generate", "alg": alg }),
                crv => json!({ "do": "generate", "alg": alg, "crv": crv }),
            })
            .collect();
        let recipient = |mut pair: Value| {
            let mut public = pair["public"].take();
            public["kid"] = "theirs".into();
            Recipient {
                public,
                private: pair["private"].take(),
            }
        };
        jose(&jobs).into_iter().map(recipient).collect()
    }

    /// One that shares a secret with us.
    pub(crate) fn with_secret(secret: &str) -> Recipient {
        Recipient {
            public: Value::Null,
            private: json!({ "secret": secret }),
        }
    }

    /// The public key.
    pub(crate) fn jwk(&self) -> Value {
        self.public.clone()
    }

    /// Header and plaintext.
    pub(crate) fn decrypt(&self, token: &str) -> (Value, Vec<u8>) {
        decrypt(&[(self, token)]).remove(0)
    }
}

/// Header and plaintext of each.
pub(crate) fn decrypt(tokens: &[(&Recipient, &str)]) -> Vec<(Value, Vec<u8>)> {
    let jobs: Vec<Value> = tokens
        .iter()
        .map(|(by, token)| json!({ "do": "decrypt", "key": by.private, "token": token }))
        .collect();
    let opened = |mut answer: Value| {
        let plaintext = answer["plaintext"].as_str();
        let plaintext = plaintext.unwrap_or_else(|| panic!("{}", answer["error"]));
        let plaintext = plaintext.as_bytes().to_vec();
        (answer["header"].take(), plaintext)
    };
    jose(&jobs).into_iter().map(opened).collect()
}
