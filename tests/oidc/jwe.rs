//! A relying party's JWE (RFC 7516), by another library than the one that makes ours: opens what is encrypted to it, and
//! encrypts request objects to the provider.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap as _};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Oaep, RsaPublicKey};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// The kid of a relying party's encryption key.
pub(crate) const KID: &str = "theirs";

fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    decode(jwk[name].as_str().unwrap())
}

/// What a relying party decrypts with.
pub(crate) enum Recipient {
    Rsa(OaepPrivateDecryptingKey, RsaPublicKey),
    Ec(agreement::PrivateKey),
    /// Its client secret (OpenID Connect Core §10.2).
    Secret(String),
}

impl Recipient {
    /// A new key for this algorithm; the secret for those that are symmetric.
    pub(crate) fn of(alg: &str, secret: &str) -> Recipient {
        if alg.starts_with("RSA") {
            let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
            let spki = key.public_key().as_der().unwrap();
            let public = RsaPublicKey::from_public_key_der(spki.as_ref()).unwrap();
            Recipient::Rsa(OaepPrivateDecryptingKey::new(key).unwrap(), public)
        } else if alg.starts_with("ECDH") {
            Recipient::Ec(agreement::PrivateKey::generate(&ECDH_P256).unwrap())
        } else {
            Recipient::Secret(secret.to_owned())
        }
    }

    /// The public key; none for a secret.
    pub(crate) fn jwk(&self) -> Option<Value> {
        let mut jwk = match self {
            Recipient::Rsa(_, public) => json!({
                "kty": "RSA", "n": encode(public.n_bytes()), "e": encode(public.e_bytes()),
            }),
            Recipient::Ec(key) => {
                let point = key.compute_public_key().unwrap();
                let (x, y) = point.as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Recipient::Secret(_) => return None,
        };
        jwk["kid"] = KID.into();
        jwk["use"] = "enc".into();
        Some(jwk)
    }

    /// Header and plaintext.
    pub(crate) fn decrypt(&self, token: &str) -> (Value, Vec<u8>) {
        let segments: Vec<&str> = token.split('.').collect();
        let [protected, encrypted_key, iv, ciphertext, tag] = segments[..] else {
            panic!("not a compact JWE: {token}");
        };
        let header: Value = serde_json::from_slice(&decode(protected)).unwrap();
        let (alg, enc) = (
            header["alg"].as_str().unwrap(),
            header["enc"].as_str().unwrap(),
        );
        let key = decode(encrypted_key);
        let cek = match self {
            Recipient::Rsa(own, _) => {
                let scheme = match alg {
                    "RSA-OAEP" => &OAEP_SHA1_MGF1SHA1,
                    "RSA-OAEP-256" => &OAEP_SHA256_MGF1SHA256,
                    other => panic!("{other} to an RSA key"),
                };
                let mut cek = vec![0; own.min_output_size()];
                own.decrypt(scheme, &key, &mut cek, None).unwrap().to_vec()
            }
            Recipient::Ec(own) => agreed(own, &header, alg, enc, &key),
            Recipient::Secret(secret) => with_secret(secret, &header, alg, enc, &key),
        };
        let plaintext = open(
            enc,
            &cek,
            protected,
            &decode(iv),
            decode(ciphertext),
            &decode(tag),
        );
        (header, plaintext)
    }
}

fn agreed(
    own: &agreement::PrivateKey,
    header: &Value,
    alg: &str,
    enc: &str,
    key: &[u8],
) -> Vec<u8> {
    let epk = &header["epk"];
    let sec1 = [vec![4], member(epk, "x"), member(epk, "y")].concat();
    let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, sec1);
    let (name, length) = match alg.strip_prefix("ECDH-ES+") {
        None => (enc, key_length(enc)),
        Some(wrap) => (alg, wrap[1..4].parse::<usize>().unwrap() / 8),
    };
    let agreed = agreement::agree(own, peer, "no agreement", |z| {
        Ok(concat_kdf(z, name, length))
    });
    let agreed = agreed.unwrap();
    if alg == "ECDH-ES" {
        assert!(key.is_empty());
        return agreed;
    }
    unwrap_key(&agreed, key)
}

/// OpenID Connect Core §10.2: the key is the left part of the secret's hash.
fn with_secret(secret: &str, header: &Value, alg: &str, enc: &str, key: &[u8]) -> Vec<u8> {
    let length = match alg {
        "dir" => key_length(enc),
        _ => alg[1..4].parse::<usize>().unwrap() / 8,
    };
    let hash = match length {
        ..=32 => Sha256::digest(secret).to_vec(),
        33..=48 => Sha384::digest(secret).to_vec(),
        _ => Sha512::digest(secret).to_vec(),
    };
    let own = &hash[..length];
    match alg {
        "dir" => {
            assert!(key.is_empty());
            own.to_vec()
        }
        gcm if gcm.ends_with("GCMKW") => open_gcm(
            own,
            &[],
            &member(header, "iv"),
            key.to_vec(),
            &member(header, "tag"),
        ),
        _ => unwrap_key(own, key),
    }
}

fn unwrap_key(own: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = match own.len() {
        16 => &key_wrap::AES_128,
        32 => &key_wrap::AES_256,
        other => panic!("this library has no key wrap with {other} octets"),
    };
    let mut output = vec![0; key.len()];
    let own = AesKek::new(algorithm, own).unwrap();
    own.unwrap(key, &mut output).unwrap().to_vec()
}

/// RFC 7518 §5.1: octets of the content encryption key.
fn key_length(enc: &str) -> usize {
    match enc {
        "A128GCM" => 16,
        "A192GCM" => 24,
        "A256GCM" | "A128CBC-HS256" => 32,
        "A192CBC-HS384" => 48,
        "A256CBC-HS512" => 64,
        other => panic!("unknown enc {other}"),
    }
}

/// RFC 7518 §4.6.2.
fn concat_kdf(z: &[u8], name: &str, octets: usize) -> Vec<u8> {
    let bits = u32::try_from(octets * 8).unwrap().to_be_bytes();
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    let round = |counter: u32| {
        let counter = counter.to_be_bytes();
        let input = [&counter, z, &length, name.as_bytes(), &[0; 8], &bits].concat();
        Sha256::digest(input).to_vec()
    };
    let mut key = [round(1), round(2)].concat();
    key.truncate(octets);
    key
}

fn open(
    enc: &str,
    cek: &[u8],
    protected: &str,
    iv: &[u8],
    ciphertext: Vec<u8>,
    tag: &[u8],
) -> Vec<u8> {
    assert_eq!(cek.len(), key_length(enc), "{enc}");
    if enc.ends_with("GCM") {
        return open_gcm(cek, protected.as_bytes(), iv, ciphertext, tag);
    }
    open_cbc(cek, protected.as_bytes(), iv, ciphertext, tag)
}

fn open_gcm(key: &[u8], aad: &[u8], iv: &[u8], ciphertext: Vec<u8>, tag: &[u8]) -> Vec<u8> {
    let mut sealed = [ciphertext, tag.to_vec()].concat();
    let nonce = Nonce::assume_unique_for_key(iv.try_into().unwrap());
    let plaintext = gcm(key).open_in_place(nonce, Aad::from(aad), &mut sealed);
    plaintext.unwrap().to_vec()
}

fn gcm(key: &[u8]) -> LessSafeKey {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        _ => &AES_256_GCM,
    };
    LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap())
}

/// RFC 7518 §5.2.2: the left half of the key authenticates, the right half encrypts.
fn open_cbc(key: &[u8], aad: &[u8], iv: &[u8], mut ciphertext: Vec<u8>, tag: &[u8]) -> Vec<u8> {
    let (mac_key, key) = key.split_at(key.len() / 2);
    let (hash, algorithm) = match key.len() {
        16 => (hmac::HMAC_SHA256, &cipher::AES_128),
        24 => (hmac::HMAC_SHA384, &cipher::AES_192),
        _ => (hmac::HMAC_SHA512, &cipher::AES_256),
    };
    let bits = u64::try_from(aad.len() * 8).unwrap().to_be_bytes();
    let input = [aad, iv, &ciphertext, &bits].concat();
    let mac = hmac::sign(&hmac::Key::new(hash, mac_key), &input);
    assert_eq!(tag, &mac.as_ref()[..mac_key.len()], "the tag");
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(algorithm, key).unwrap());
    let iv: [u8; 16] = iv.try_into().unwrap();
    let plaintext = key
        .unwrap()
        .decrypt(&mut ciphertext, DecryptionContext::Iv128(iv.into()));
    plaintext.unwrap().to_vec()
}

/// A nested JWT (RFC 7519 §5.2) for an encryption key that the provider publishes, with A256GCM.
pub(crate) fn encrypt(alg: &str, jwk: &Value, plaintext: &str) -> String {
    let mut header = json!({"alg": alg, "enc": "A256GCM", "cty": "JWT", "kid": jwk["kid"]});
    let mut cek = [0; 32];
    rand::fill(&mut cek).unwrap();
    let encrypted_key = match alg.starts_with("ECDH-ES") {
        true => agree(alg, jwk, &mut header, &mut cek),
        false => {
            let number = |name| rsa::BoxedUint::from_be_slice_vartime(&member(jwk, name));
            let key = RsaPublicKey::new(number("n"), number("e")).unwrap();
            let mut random = UnwrapErr(SysRng);
            let encrypted = match alg {
                "RSA-OAEP" => key.encrypt(&mut random, Oaep::<Sha1>::new(), &cek),
                _ => key.encrypt(&mut random, Oaep::<Sha256>::new(), &cek),
            };
            encrypted.unwrap()
        }
    };
    let header = encode(header.to_string());
    let mut nonce = [0; 12];
    rand::fill(&mut nonce).unwrap();
    let mut sealed = plaintext.as_bytes().to_vec();
    let unique = Nonce::assume_unique_for_key(nonce);
    gcm(&cek)
        .seal_in_place_append_tag(unique, Aad::from(header.as_bytes()), &mut sealed)
        .unwrap();
    let (ciphertext, tag) = sealed.split_at(plaintext.len());
    format!(
        "{header}.{}.{}.{}.{}",
        encode(encrypted_key),
        encode(nonce),
        encode(ciphertext),
        encode(tag)
    )
}

/// RFC 7518 §4.6: the agreed key is the content's, or wraps it.
fn agree(alg: &str, jwk: &Value, header: &mut Value, cek: &mut [u8; 32]) -> Vec<u8> {
    let own = agreement::PrivateKey::generate(&ECDH_P256).unwrap();
    let point = own.compute_public_key().unwrap();
    let (x, y) = point.as_ref()[1..].split_at(32);
    header["epk"] = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
    let sec1 = [vec![4], member(jwk, "x"), member(jwk, "y")].concat();
    let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, sec1);
    let (name, length, wrap) = match alg {
        "ECDH-ES+A128KW" => (alg, 16, Some(&key_wrap::AES_128)),
        "ECDH-ES+A256KW" => (alg, 32, Some(&key_wrap::AES_256)),
        _ => ("A256GCM", 32, None),
    };
    let agreed = agreement::agree(&own, peer, "no agreement", |z| {
        Ok(concat_kdf(z, name, length))
    });
    let agreed = agreed.unwrap();
    let Some(wrap) = wrap else {
        cek.copy_from_slice(&agreed);
        return Vec::new();
    };
    let mut output = [0; 40];
    let wrapped = AesKek::new(wrap, &agreed).unwrap().wrap(cek, &mut output);
    wrapped.unwrap().to_vec()
}
