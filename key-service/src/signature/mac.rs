//! Signatures with a shared secret (RFC 2104, RFC 7518 §3.2): whoever can verify one can make one, so only the client
//! whose secret it is believes it.

use aws_lc_rs::hmac;

use super::Invalid;
use crate::algorithm::MacAlgorithm;
use crate::backend::SecretBytes;

/// A shared secret that is long enough for its algorithm.
#[derive(Debug)]
pub struct MacKey {
    algorithm: MacAlgorithm,
    /// Boxed: it holds the states of both hashes, more than a kilobyte.
    key: Box<hmac::Key>,
}

impl MacAlgorithm {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            MacAlgorithm::Hs256 => hmac::HMAC_SHA256,
            MacAlgorithm::Hs384 => hmac::HMAC_SHA384,
            MacAlgorithm::Hs512 => hmac::HMAC_SHA512,
        }
    }

    /// The least that a secret must have, in octets (RFC 7518 §3.2, OpenID Connect Core §16.19).
    #[must_use]
    pub fn shortest_key(self) -> usize {
        self.hmac().tag_len()
    }

    /// The hash of "at_hash" and its like.
    pub(crate) fn hash(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            MacAlgorithm::Hs256 => &aws_lc_rs::digest::SHA256,
            MacAlgorithm::Hs384 => &aws_lc_rs::digest::SHA384,
            MacAlgorithm::Hs512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

impl MacKey {
    /// `None` when the secret is shorter than the hash.
    #[must_use]
    pub fn of(algorithm: MacAlgorithm, secret: &SecretBytes) -> Option<MacKey> {
        (secret.len() >= algorithm.shortest_key()).then(|| MacKey {
            algorithm,
            key: Box::new(hmac::Key::new(algorithm.hmac(), secret)),
        })
    }

    /// The JWS "alg" that it is for, and no other.
    #[must_use]
    pub fn algorithm(&self) -> MacAlgorithm {
        self.algorithm
    }

    /// The signature of a JWS signing input.
    #[must_use]
    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key, input).as_ref().to_vec()
    }

    /// Compares in constant time; a truncated signature is a wrong one.
    ///
    /// # Errors
    /// [`Invalid::Signature`].
    pub fn verify(&self, input: &[u8], signature: &[u8]) -> Result<(), Invalid> {
        hmac::verify(&self.key, input, signature).map_err(|_| Invalid::Signature)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn the_signature_of_rfc_7515_a_1() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let input = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
            cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = MacKey::of(
            MacAlgorithm::Hs256,
            &URL_SAFE_NO_PAD.decode(secret).unwrap().into(),
        )
        .unwrap();
        let signature = key.sign(input);
        let expected = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(URL_SAFE_NO_PAD.encode(&signature), expected);
        assert_eq!(key.verify(input, &signature), Ok(()));
        for wrong in [&signature[..31], &[], &[0; 32]] {
            assert_eq!(key.verify(input, wrong), Err(Invalid::Signature));
        }
        assert_eq!(key.verify(b"", &signature), Err(Invalid::Signature));
    }

    /// RFC 4231 §4.7: a key that is longer than a block.
    #[test]
    fn the_longer_hashes() {
        let secret = SecretBytes::from(vec![0xaa; 131]);
        let input = b"Test Using Larger Than Block-Size Key - Hash Key First";
        for (algorithm, length, begins) in [
            (MacAlgorithm::Hs256, 32, [0x60, 0xe4, 0x31, 0x59]),
            (MacAlgorithm::Hs384, 48, [0x4e, 0xce, 0x08, 0x44]),
            (MacAlgorithm::Hs512, 64, [0x80, 0xb2, 0x42, 0x63]),
        ] {
            let signature = MacKey::of(algorithm, &secret).unwrap().sign(input);
            assert_eq!(signature.len(), length, "{algorithm}");
            assert_eq!(signature[..4], begins, "{algorithm}");
            let long_enough = |length| MacKey::of(algorithm, &vec![1; length].into()).is_some();
            assert!(long_enough(length), "{algorithm}");
            assert!(!long_enough(length - 1), "{algorithm}");
        }
    }
}
