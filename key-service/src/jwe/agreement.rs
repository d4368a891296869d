//! ECDH-ES (RFC 7518 §4.6, RFC 8037 §3.2): the sender's side of the agreement, and the key that both sides derive.

use aws_lc_rs::agreement::{
    self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, EphemeralPrivateKey, UnparsedPublicKey,
    X25519,
};
use aws_lc_rs::digest::{self, SHA256, SHA256_OUTPUT_LEN};
use aws_lc_rs::rand::SystemRandom;
use zeroize::Zeroizing;

use super::{Error, no_random_octets};
use crate::backend::{Curve, Peer, Point, SecretBytes};

/// What the sender has: the public key that goes into the header, and the secret.
pub(crate) struct Agreed {
    pub(crate) epk: Peer,
    pub(crate) z: SecretBytes,
}

/// Agrees on a secret, with a key that is used this once.
pub(crate) fn agree_with(recipient: &Peer) -> Result<Agreed, Error> {
    let algorithm = algorithm(recipient);
    let ephemeral = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
        .map_err(|_| no_random_octets())?;
    let public = ephemeral
        .compute_public_key()
        .map_err(|_| no_random_octets())?;
    let epk = match recipient {
        Peer::Ec(point) => Peer::Ec(Point {
            curve: point.curve,
            sec1: public.as_ref().to_vec(),
        }),
        Peer::X25519(_) => {
            Peer::X25519(public.as_ref().try_into().map_err(|_| Error::Unsupported)?)
        }
    };
    let peer = UnparsedPublicKey::new(algorithm, recipient.octets());
    // It fails where X25519 gives nothing but zeros.
    let z = agreement::agree_ephemeral(ephemeral, peer, Error::Unsupported, |z| {
        Ok(Zeroizing::new(z.to_vec()))
    })?;
    Ok(Agreed { epk, z })
}

fn algorithm(recipient: &Peer) -> &'static Algorithm {
    match recipient {
        Peer::Ec(point) => match point.curve {
            Curve::P256 => &ECDH_P256,
            Curve::P384 => &ECDH_P384,
            Curve::P521 => &ECDH_P521,
        },
        Peer::X25519(_) => &X25519,
    }
}

/// Concat KDF with SHA-256 (RFC 7518 §4.6.2): a key of `length` octets for `algorithm`, which is the "enc" with direct
/// agreement and the "alg" with key wrap.
pub(super) fn concat_kdf(
    z: &[u8],
    algorithm: &str,
    length: usize,
    apu: &[u8],
    apv: &[u8],
) -> SecretBytes {
    let mut key = Zeroizing::new(Vec::with_capacity(length + SHA256_OUTPUT_LEN));
    for round in 1.. {
        let mut context = digest::Context::new(&SHA256);
        context.update(&u32::to_be_bytes(round));
        context.update(z);
        for field in [algorithm.as_bytes(), apu, apv] {
            context.update(&length_u32(field.len()).to_be_bytes());
            context.update(field);
        }
        context.update(&length_u32(length * 8).to_be_bytes());
        key.extend_from_slice(context.finish().as_ref());
        if key.len() >= length {
            break;
        }
    }
    key.truncate(length);
    key
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a header's length is bounded")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::algorithm::ContentEncryption;

    #[test]
    fn the_key_of_rfc_7518_c_is_derived() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let enc = ContentEncryption::A128Gcm;
        let cek = concat_kdf(&z, enc.as_str(), enc.key_length(), b"Alice", b"Bob");
        assert_eq!(URL_SAFE_NO_PAD.encode(cek), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn longer_keys_take_more_rounds() {
        let long = concat_kdf(&[1; 32], "A256CBC-HS512", 64, b"", b"");
        assert_eq!(long.len(), 64);
        // The length is hashed too, and the rounds differ.
        let short = concat_kdf(&[1; 32], "A256CBC-HS512", 32, b"", b"");
        assert_ne!(long[..32], short[..]);
        assert_ne!(long[..32], long[32..]);
    }

    #[test]
    fn a_point_of_small_order_is_no_partner() {
        assert!(agree_with(&Peer::X25519([0; 32])).is_err());
        assert_eq!(agree_with(&Peer::X25519([9; 32])).unwrap().z.len(), 32);
    }
}
