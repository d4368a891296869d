//! Somebody else's public key to agree on a secret with (RFC 7518 §4.6, RFC 8037 §3.2), checked before a device sees it: a
//! module may answer a bad point with an error that looks like its own failure, or with a secret that everybody knows.

use super::{Curve, PublicKey};
use crate::algorithm::DecryptionAlgorithm;

/// The points of X25519 with which every agreement gives nothing but zeros (RFC 7748 §6.1), without their highest bit,
/// which no implementation looks at: those of order 2, 4 and 8 on the curve and its twist, and what is congruent to them.
const SMALL_ORDER: [[u8; 32]; 7] = [
    octets(0x00, 0x00, 0x00),
    octets(0x01, 0x00, 0x00),
    octets(0xec, 0xff, 0x7f),
    octets(0xed, 0xff, 0x7f),
    octets(0xee, 0xff, 0x7f),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

const fn octets(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut octets = [middle; 32];
    octets[0] = first;
    octets[31] = last;
    octets
}

fn is_of_small_order(x: &[u8; 32]) -> bool {
    let mut x = *x;
    x[31] &= 0x7f;
    SMALL_ORDER.contains(&x)
}

/// A point that is on its curve.
#[derive(Debug, Clone)]
pub struct Point {
    pub(crate) curve: Curve,
    /// SEC 1 uncompressed: 04 ‖ x ‖ y.
    pub(crate) sec1: Vec<u8>,
}

/// A public key of somebody else's to agree on a secret with, checked before a device sees it.
#[derive(Debug, Clone)]
pub enum Peer {
    /// On a curve of RFC 7518 §6.2.1.1.
    Ec(Point),
    /// RFC 8037, not of small order.
    X25519([u8; 32]),
}

impl Peer {
    /// `None` when the key is of another kind, or its point is not on its curve or of small order.
    #[must_use]
    pub fn of(public: &PublicKey) -> Option<Peer> {
        match public {
            PublicKey::Ec { curve, x, y } => Point::of(*curve, x, y).ok().map(Peer::Ec),
            PublicKey::X25519 { x } => (!is_of_small_order(x)).then_some(Peer::X25519(*x)),
            PublicKey::Rsa { .. } | PublicKey::Ed25519 { .. } => None,
        }
    }

    /// Of which rings the keys are that can agree with it.
    #[must_use]
    pub fn algorithm(&self) -> DecryptionAlgorithm {
        match self {
            Peer::Ec(point) => match point.curve {
                Curve::P256 => DecryptionAlgorithm::EcdhEsP256,
                Curve::P384 => DecryptionAlgorithm::EcdhEsP384,
                Curve::P521 => DecryptionAlgorithm::EcdhEsP521,
            },
            Peer::X25519(_) => DecryptionAlgorithm::EcdhEsX25519,
        }
    }

    /// As devices take it: SEC 1 uncompressed, or the 32 octets.
    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Peer::Ec(point) => &point.sec1,
            Peer::X25519(x) => x,
        }
    }

    /// Length of the secret that is agreed on, in octets.
    pub(crate) fn secret_length(&self) -> usize {
        match self {
            Peer::Ec(point) => point.curve.field_length(),
            Peer::X25519(x) => x.len(),
        }
    }
}

impl DecryptionAlgorithm {
    /// On which curve its keys are; `None` for RSA and for X25519.
    #[must_use]
    pub fn curve(self) -> Option<Curve> {
        match self {
            DecryptionAlgorithm::EcdhEsP256 => Some(Curve::P256),
            DecryptionAlgorithm::EcdhEsP384 => Some(Curve::P384),
            DecryptionAlgorithm::EcdhEsP521 => Some(Curve::P521),
            DecryptionAlgorithm::RsaOaep
            | DecryptionAlgorithm::RsaOaep256
            | DecryptionAlgorithm::EcdhEsX25519 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

    use super::*;

    #[test]
    fn points_of_small_order_are_no_partners() {
        let key = PrivateKey::generate(&X25519).expect("there is randomness");
        for point in SMALL_ORDER {
            for highest in [0, 0x80] {
                let mut x = point;
                x[31] |= highest;
                assert!(Peer::of(&PublicKey::X25519 { x }).is_none(), "{x:02x?}");
                // Somebody else's word for it.
                let agreed = agree(&key, UnparsedPublicKey::new(&X25519, x), (), |_| Ok(()));
                assert_eq!(agreed, Err(()), "{x:02x?}");
            }
            let mut x = point;
            x[5] ^= 1;
            assert!(Peer::of(&PublicKey::X25519 { x }).is_some(), "{x:02x?}");
        }
    }
}
