//! JOSE by other people's code, and for each step by other code than the key-service's: what that does with aws-lc is
//! done here with RustCrypto and `jsonwebtoken`, and the other way round.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use getrandom::SysRng;
use getrandom::rand_core::{TryRng as _, UnwrapErr};
use jsonwebtoken::{Algorithm, DecodingKey};
use key_service::algorithm::{ContentEncryption, KeyManagementAlgorithm, SignatureAlgorithm};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p521::ecdsa::signature::Verifier as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Oaep, RsaPublicKey};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

fn encode(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    decode(jwk[name].as_str().unwrap())
}

fn fill(octets: &mut [u8]) {
    SysRng.try_fill_bytes(octets).unwrap();
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

fn content_key(encryption: ContentEncryption, cek: &[u8]) -> LessSafeKey {
    let algorithm = match encryption {
        ContentEncryption::A128Gcm => &AES_128_GCM,
        ContentEncryption::A256Gcm => &AES_256_GCM,
    };
    LessSafeKey::new(UnboundKey::new(algorithm, cek).unwrap())
}

fn seal(encryption: ContentEncryption, cek: &[u8], header: &str, plaintext: &[u8]) -> String {
    let mut nonce = [0; 12];
    fill(&mut nonce);
    let mut sealed = plaintext.to_vec();
    content_key(encryption, cek)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut sealed,
        )
        .unwrap();
    let (ciphertext, tag) = sealed.split_at(plaintext.len());
    format!("{}.{}.{}", encode(nonce), encode(ciphertext), encode(tag))
}

fn concat_kdf(z: &[u8], encryption: ContentEncryption) -> Vec<u8> {
    let enc = encryption.as_str();
    let bits = u32::try_from(encryption.key_length() * 8).unwrap();
    let length = u32::try_from(enc.len()).unwrap();
    let input = [
        &1u32.to_be_bytes(),
        z,
        &length.to_be_bytes(),
        enc.as_bytes(),
        &[0; 8],
        &bits.to_be_bytes(),
    ]
    .concat();
    Sha256::digest(input)[..encryption.key_length()].to_vec()
}

/// A compact JWE as somebody else makes it.
pub(crate) fn encrypt(
    algorithm: KeyManagementAlgorithm,
    encryption: ContentEncryption,
    jwk: &Value,
    plaintext: &[u8],
) -> String {
    let (alg, enc, kid) = (
        algorithm.as_str(),
        encryption.as_str(),
        jwk["kid"].as_str().unwrap(),
    );
    let mut header = serde_json::json!({ "alg": alg, "enc": enc, "kid": kid });
    let mut cek = vec![0; encryption.key_length()];
    fill(&mut cek);
    let mut random = UnwrapErr(SysRng);
    let encrypted_key = if algorithm == KeyManagementAlgorithm::EcdhEs {
        let sec1 = [vec![4], member(jwk, "x"), member(jwk, "y")].concat();
        let peer = p256::PublicKey::from_sec1_bytes(&sec1).unwrap();
        let scalar = loop {
            let mut scalar = [0; 32];
            fill(&mut scalar);
            if let Ok(scalar) = p256::SecretKey::from_slice(&scalar) {
                break scalar;
            }
        };
        let z = p256::ecdh::diffie_hellman(scalar.to_nonzero_scalar(), peer.as_affine());
        cek = concat_kdf(z.raw_secret_bytes(), encryption);
        let own = scalar.public_key().to_sec1_point(false);
        header["epk"] = serde_json::json!({
            "kty": "EC",
            "crv": "P-256",
            "x": encode(own.x().unwrap()),
            "y": encode(own.y().unwrap()),
        });
        Vec::new()
    } else {
        let number = |name| rsa::BoxedUint::from_be_slice_vartime(&member(jwk, name));
        let key = RsaPublicKey::new(number("n"), number("e")).unwrap();
        match algorithm {
            KeyManagementAlgorithm::RsaOaep => key.encrypt(&mut random, Oaep::<Sha1>::new(), &cek),
            _ => key.encrypt(&mut random, Oaep::<Sha256>::new(), &cek),
        }
        .unwrap()
    };
    let header = encode(header.to_string());
    let rest = seal(encryption, &cek, &header, plaintext);
    format!("{header}.{}.{rest}", encode(encrypted_key))
}

/// A recipient that is not the key-service.
pub(crate) enum Recipient {
    Rsa(OaepPrivateDecryptingKey, RsaPublicKey),
    Ec(agreement::PrivateKey),
}

impl Recipient {
    pub(crate) fn rsa() -> Recipient {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki = key.public_key().as_der().unwrap();
        let public = RsaPublicKey::from_public_key_der(spki.as_ref()).unwrap();
        Recipient::Rsa(OaepPrivateDecryptingKey::new(key).unwrap(), public)
    }

    pub(crate) fn ec() -> Recipient {
        Recipient::Ec(agreement::PrivateKey::generate(&ECDH_P256).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        match self {
            Recipient::Rsa(_, public) => serde_json::json!({
                "kty": "RSA",
                "n": encode(public.n_bytes()),
                "e": encode(public.e_bytes()),
                "kid": "theirs",
            }),
            Recipient::Ec(key) => {
                let point = key.compute_public_key().unwrap();
                let (x, y) = point.as_ref()[1..].split_at(32);
                serde_json::json!({
                    "kty": "EC",
                    "crv": "P-256",
                    "x": encode(x),
                    "y": encode(y),
                    "kid": "theirs",
                })
            }
        }
    }

    /// Header and plaintext.
    pub(crate) fn decrypt(&self, token: &str) -> (Value, Vec<u8>) {
        let segments: Vec<&str> = token.split('.').collect();
        let [protected, encrypted_key, nonce, ciphertext, tag] = segments[..] else {
            panic!("not a compact JWE");
        };
        let header: Value = serde_json::from_slice(&decode(protected)).unwrap();
        let encryption: ContentEncryption = header["enc"].as_str().unwrap().parse().unwrap();
        let cek = match self {
            Recipient::Rsa(key, _) => {
                let scheme = match header["alg"].as_str().unwrap() {
                    "RSA-OAEP" => &OAEP_SHA1_MGF1SHA1,
                    _ => &OAEP_SHA256_MGF1SHA256,
                };
                let mut cek = vec![0; key.min_output_size()];
                key.decrypt(scheme, &decode(encrypted_key), &mut cek, None)
                    .unwrap()
                    .to_vec()
            }
            Recipient::Ec(key) => {
                assert_eq!(encrypted_key, "");
                let epk = &header["epk"];
                let sec1 = [vec![4], member(epk, "x"), member(epk, "y")].concat();
                let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, sec1);
                agreement::agree(key, peer, "no agreement", |z| Ok(concat_kdf(z, encryption)))
                    .unwrap()
            }
        };
        let nonce: [u8; 12] = decode(nonce).try_into().unwrap();
        let mut sealed = [decode(ciphertext), decode(tag)].concat();
        let plaintext = content_key(encryption, &cek)
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(protected),
                &mut sealed,
            )
            .unwrap()
            .to_vec();
        (header, plaintext)
    }
}
