//! What a gateway and its store hold is of no use to who steals it. The gateway's memory is dumped under load, and the
//! whole of Redis, and searched for every secret that there is; and with the gateway's own certificate nothing of what is
//! found there opens.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::assertion::{TYPE, claims};
use crate::client_secret_jwt::sign;
use crate::jwe::Recipient;
use crate::memory::{self, Secrets};
use crate::params::Params;
use crate::person::Person;
use crate::registering::{REDIRECT_URI, Registered};
use crate::rewrap::seal_secret;
use crate::secrets::{self, configuration, folder};
use crate::site::Site;
use crate::stack::{self, Options};
use crate::thief::nothing_unseals;
use crate::verified::payload;

/// The key-service alone ever has it: it was sealed before a gateway was told of its client.
const SEALED: (&str, &str) = (
    "a-client-that-was-sealed",
    "sealed-CvkQ5sVt1yTq4nXb8mZr0pLw7dJe3hGf6uAi9oSk2xEc",
);
/// Somebody wrote it down in clear.
const WRITTEN: (&str, &str) = (
    "a-client-that-was-written",
    "written-T7yBn2mKq9wErLz4xDf6gHs8jPv0cUi5oAa3tRb1VeN",
);
const MEMBERS: &str = r#"
grant_types = ["authorization_code"]
redirect_uris = ["https://rp.example/cb"]
token_endpoint_auth_method = "client_secret_jwt"
id_token_signed_response_alg = "HS256"
id_token_encrypted_response_alg = "dir"
id_token_encrypted_response_enc = "A128CBC-HS256"
subject_type = "pairwise"
consent = "implicit"
"#;

fn table(client_id: &str, secret: &str) -> String {
    format!("\n[[clients]]\nclient_id = \"{client_id}\"\n{secret}\n{MEMBERS}")
}

/// A client, and how it shows that it has its secret: never by telling it.
#[derive(Clone)]
struct Client {
    id: String,
    secret: String,
    is_encrypted: bool,
}

impl Client {
    fn configured((id, secret): (&str, &str)) -> Client {
        Client {
            id: id.to_owned(),
            secret: secret.to_owned(),
            is_encrypted: true,
        }
    }

    async fn registered(site: &Site, is_encrypted: bool) -> Client {
        let mut members = json!({
            "token_endpoint_auth_method": "client_secret_jwt",
            "id_token_signed_response_alg": "HS256",
            "subject_type": "pairwise",
        });
        if is_encrypted {
            members["id_token_encrypted_response_alg"] = "dir".into();
        }
        let client = Registered::with(site, &members).await;
        Client {
            id: client.id().to_owned(),
            secret: client.secret().to_owned(),
            is_encrypted,
        }
    }

    /// A sign-in: the code flow, an ID token that only the secret opens and makes, and a pairwise subject.
    async fn sign_in(&self, person: &mut Person) {
        let site = person.site.clone();
        let request = Params::of(&[
            ("client_id", self.id.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("response_type", "code"),
            ("scope", "openid"),
            ("state", "some state"),
            ("nonce", "some nonce"),
            ("code_challenge", crate::client::CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let code = person.authorize(&request).await.code();
        let assertion = sign("HS256", &self.secret, &claims(&self.id, site.issuer()));
        let form = Registered::redemption(&code)
            .and("client_assertion_type", TYPE)
            .and("client_assertion", &assertion);
        let answer = site.post("/token", &form.encode()).await;
        assert_eq!(answer.outcome(), "200", "{}", self.id);
        let mut token = answer.json()["id_token"].as_str().unwrap().to_owned();
        if self.is_encrypted {
            let own = Recipient::Secret(self.secret.clone());
            token = String::from_utf8(own.decrypt(&token).1).unwrap();
        }
        let claims = payload(&token);
        assert_eq!(claims["aud"], json!(self.id));
        assert_ne!(claims["sub"], json!(person.username), "{}", self.id);
    }
}

/// People sign in until it is enough.
async fn load(site: Site, clients: Vec<Client>, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut person = Person::new(&site, number % 64);
        for client in &clients {
            client.sign_in(&mut person).await;
            done.fetch_add(1, Ordering::Relaxed);
        }
        number += 1;
    }
}

#[tokio::test]
async fn nothing_worth_stealing_is_in_a_gateway_or_in_the_store() {
    let stack = stack::start(&Options {
        tables: "\n[registration]\nmode = \"open\"\nper_address = 0\nin_all = 0\n",
        ..Options::default()
    });
    let site = stack.site();
    let mut clients = vec![Client::configured(WRITTEN), Client::configured(SEALED)];
    for is_encrypted in [false, true] {
        clients.push(Client::registered(&site, is_encrypted).await);
    }
    // The answer to a registration is the one place where a gateway has such a secret; another process has never had it.
    let (path, text) = configuration(&folder(&stack), "gateway0");
    let lines = seal_secret(&path, SEALED.0, SEALED.1);
    // In the file alone: what is in the launcher's environment is in the memory of all that it starts.
    let written = table(WRITTEN.0, &format!("client_secret = \"{}\"", WRITTEN.1));
    let sealed = table(SEALED.0, &lines[0]);
    fs::write(&path, format!("{text}{written}{sealed}")).unwrap();
    stack.signal("gateway0", Signal::SIGTERM);
    stack.start_again("gateway0");
    // Connections of before are closed.
    let site = stack.site();

    let mut planted = Secrets::default();
    for client in &clients {
        let name = format!("the secret of {}", client.id);
        planted.add(&name, client.secret.as_bytes());
        // OpenID Connect Core §10.2, and RFC 2104 §2 where it is longer than a block.
        let key = Sha256::digest(client.secret.as_bytes());
        planted.add(&format!("{name}, as a key"), &key);
    }
    let keys = of_the_key_service(&folder(&stack), &mut planted);
    assert!(keys >= 20, "{keys} keys of the key-service");

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let running: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(load(
                site.clone(),
                clients.clone(),
                Arc::clone(&stop),
                Arc::clone(&done),
            ))
        })
        .collect();
    let mut loot: BTreeSet<String> = BTreeSet::new();
    let planted = Arc::new(planted);
    for round in 1..=3 {
        while done.load(Ordering::Relaxed) < round * 3 * clients.len() {
            assert!(
                running.iter().all(|it| !it.is_finished()),
                "the load goes on"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (pid, planted) = (stack.pid("gateway0"), Arc::clone(&planted));
        let ids: Vec<String> = clients.iter().map(|client| client.id.clone()).collect();
        let dumped = tokio::task::spawn_blocking(move || {
            let dump = memory::dump(pid);
            let mut known = Secrets::default();
            for id in &ids {
                known.add(id, id.as_bytes());
            }
            let seen = known.found(&dump);
            for id in &ids {
                assert!(
                    seen.contains_key(&format!("{id} (raw)")),
                    "a dump shows {id}"
                );
            }
            (planted.found(&dump), memory::jwes(&dump))
        });
        let (found, jwes) = dumped.await.unwrap();
        assert!(found.is_empty(), "the gateway's memory holds {found:#?}");
        loot.extend(jwes);
    }
    stop.store(true, Ordering::Relaxed);
    for each in running {
        each.await.unwrap();
    }

    let text = secrets::dump(&folder(&stack));
    assert!(text.contains("A client"), "metadata can be read there");
    let dump = vec![fs::read(folder(&stack).join("dump.rdb")).unwrap()];
    let found = planted.found(&dump);
    assert!(found.is_empty(), "the store holds {found:#?}");
    let sealed = memory::jwes(&dump);
    assert!(sealed.len() >= 2, "{sealed:?}");
    loot.extend(sealed);
    nothing_unseals(&path, &loot, &planted).await;
    the_search_finds_what_is_there(&planted, &clients);
}

/// Everything that the key-service keeps in its files, as only it can open them.
fn of_the_key_service(run: &Path, planted: &mut Secrets) -> usize {
    let passphrase = fs::read_to_string(run.join("passphrase")).unwrap();
    let passphrase = passphrase.trim_end();
    planted.add("the passphrase", passphrase.as_bytes());
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(run.join("keys").join(name)).unwrap()).unwrap()
    };
    let salt = read("salt.json")["name"].as_str().unwrap().to_owned();
    let mut key = [0; 32];
    let params = argon2::Params::new(64 * 1024, 3, 4, Some(32)).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt.as_bytes(), &mut key)
        .unwrap();
    planted.add("the key of the passphrase", &key);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let mut count = 0;
    for entry in fs::read_dir(run.join("keys")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if !file.ends_with(".key") {
            continue;
        }
        let written = read(&file);
        let octets = |name: &str| STANDARD.decode(written[name].as_str().unwrap()).unwrap();
        let label = written["name"].as_str().unwrap();
        let nonce = Nonce::try_assume_unique_for_key(&octets("nonce")).unwrap();
        let mut sealed = octets("sealed");
        let aad = Aad::from(format!("{file}\n{label}"));
        let secret = key.open_in_place(nonce, aad, &mut sealed).unwrap();
        for (part, octets) in private_parts(secret).into_iter().enumerate() {
            planted.add(&format!("{label}, part {part}"), octets);
        }
        count += 1;
    }
    count
}

/// What nobody else knows of a key: PKCS#8 has the public half in it too.
fn private_parts(secret: &[u8]) -> Vec<&[u8]> {
    // RFC 5915: version 1, and then the private key.
    let ec = secret
        .windows(4)
        .position(|window| window == [2, 1, 1, 4])
        .filter(|_| secret.len() < 300);
    match (secret.len(), ec) {
        (32, _) => vec![secret],
        (_, Some(at)) => {
            let length = usize::from(secret[at + 4]);
            vec![&secret[at + 5..at + 5 + length]]
        }
        // RFC 8410: Ed25519.
        (48..=96, None) => vec![&secret[16..48]],
        // RFC 8017: the private exponent comes after the modulus, and then the primes.
        (length, None) => [40, 55, 70]
            .map(|percent| {
                let at = length * percent / 100;
                &secret[at..at + 32]
            })
            .to_vec(),
    }
}

/// A search that finds nothing must be one that would find it.
fn the_search_finds_what_is_there(planted: &Secrets, clients: &[Client]) {
    let secret = &clients[1].secret;
    let hex: String = secret.bytes().map(|octet| format!("{octet:02x}")).collect();
    let forms = [
        secret.clone(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        hex.clone(),
        hex.to_uppercase(),
    ];
    let mut child = Command::new("sleep")
        .arg("60")
        .envs(
            forms
                .iter()
                .enumerate()
                .map(|(at, form)| (format!("FORM{at}"), form)),
        )
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // `spawn` waits until it is the program: before, its memory would be a copy of this one's.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let found = planted.found(&memory::dump(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    for form in ["raw", "base64", "base64url", "hex", "HEX"] {
        let name = format!("the secret of {} ({form})", clients[1].id);
        assert!(
            found.contains_key(&name),
            "{form} of {}: {found:?}",
            planted.len()
        );
    }
}
