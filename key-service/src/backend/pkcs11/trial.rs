//! Finding out by trying: what a token can do (a mechanism in its list may still fail), whether a key's public half
//! is its own, and whether the token is alive (it may say so after it has gone).

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::Failure;
use super::mechanism;
use super::object::{self, Design, Handles};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::device::CANARY;
use crate::backend::{Error, Label, Peer, PublicKey, RsaBits};
use crate::{jwe, signature};

const OAEP_SHA1: RingAlgorithm = RingAlgorithm::Decryption(DecryptionAlgorithm::RsaOaep);
const OAEP_SHA256: RingAlgorithm = RingAlgorithm::Decryption(DecryptionAlgorithm::RsaOaep256);

/// What a token can do, and what it cannot although JOSE has it.
pub(super) fn capabilities(
    session: &Session,
    mechanisms: &[MechanismType],
) -> (Vec<RingAlgorithm>, Vec<String>) {
    let signatures = SignatureAlgorithm::ALL
        .iter()
        .copied()
        .map(RingAlgorithm::Signature);
    let others = DecryptionAlgorithm::ALL
        .iter()
        .copied()
        .map(RingAlgorithm::Decryption);
    let (mut can, mut gaps) = (Vec::new(), Vec::new());
    // An RSA key takes long to make: algorithms that can use the same one stand next to each other.
    let mut last: Option<(RingAlgorithm, Handles)> = None;
    for algorithm in signatures
        .chain(others)
        .chain([RingAlgorithm::Seal, RingAlgorithm::Mac])
    {
        let missing = mechanism::needed(algorithm)
            .into_iter()
            .find(|mechanism| !mechanisms.contains(mechanism));
        if let Some(missing) = missing {
            gaps.push(format!(
                "{}: the token has no {missing}",
                algorithm.as_str()
            ));
            continue;
        }
        let handles = match last {
            Some((alike, handles)) if object::is_alike(alike, algorithm) => Ok(handles),
            _ => object::generate(
                session,
                &Design {
                    algorithm,
                    rsa_bits: RsaBits::B2048,
                    lasting: None,
                },
            ),
        };
        let tried = handles
            .map_err(Failure::from)
            .and_then(|(public, private)| {
                last = Some((algorithm, (public, private)));
                let public = match public {
                    Some(public) => object::read_public(session, algorithm, public)?,
                    None => None,
                };
                prove(session, private, algorithm, public.as_ref())
            });
        match tried {
            Ok(()) => can.push(algorithm),
            Err(_) if algorithm == OAEP_SHA256 && can.contains(&OAEP_SHA1) => {
                gaps.push(format!(
                    "{}: the token does OAEP with SHA-1 only",
                    algorithm.as_str()
                ));
            }
            Err(failure) => {
                gaps.push(format!("{}: {}", algorithm.as_str(), Error::from(failure)));
            }
        }
    }
    (can, gaps)
}

/// Uses a key, and checks the result with its public half in this process.
pub(super) fn prove(
    session: &Session,
    key: ObjectHandle,
    algorithm: RingAlgorithm,
    public: Option<&PublicKey>,
) -> Result<(), Failure> {
    let is_right = match (algorithm, public) {
        (RingAlgorithm::Signature(alg), Some(public)) => {
            let signature = mechanism::sign(session, key, alg, CANARY)?;
            signature::verify(alg, public, CANARY, &signature).is_ok()
        }
        (RingAlgorithm::Decryption(alg), Some(PublicKey::Rsa { n, e })) => {
            let ciphertext = jwe::wrap(alg.alg(), n, e, CANARY).map_err(|_| wrong())?;
            *mechanism::unwrap_key(session, key, alg, &ciphertext)? == CANARY
        }
        (RingAlgorithm::Decryption(alg), Some(public)) => {
            let own = Peer::of(public).filter(|own| own.algorithm() == alg);
            let agreed = jwe::agree_with(&own.ok_or_else(wrong)?).map_err(|_| wrong())?;
            *mechanism::agree(session, key, &agreed.epk)? == *agreed.z
        }
        (RingAlgorithm::Seal, None) => {
            // Only for trying: a random nonce, like every other.
            let mut nonce = [0; 12];
            aws_lc_rs::rand::fill(&mut nonce).map_err(|_| wrong())?;
            let sealed = mechanism::seal(session, key, &nonce, CANARY, CANARY)?;
            *mechanism::unseal(session, key, &nonce, CANARY, &sealed)? == CANARY
        }
        (RingAlgorithm::Mac, None) => {
            let mac = mechanism::mac(session, key, CANARY)?;
            mechanism::verify_mac(session, key, CANARY, &mac)?;
            mac.len() == 32
        }
        _ => false,
    };
    if is_right { Ok(()) } else { Err(wrong()) }
}

fn wrong() -> Failure {
    Failure::Final(Error::Device("it computes something else".to_owned()))
}

/// A signature by any key of ours; `false` where there is none.
pub(super) fn canary(session: &Session) -> Result<bool, Failure> {
    let keys = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::Sign(true),
    ])?;
    for key in keys {
        let description = object::describe(session, key)?;
        let Some(label) = label_of(&description.label) else {
            continue;
        };
        let algorithm = label.ring.algorithm();
        if let RingAlgorithm::Signature(alg) = algorithm
            && description.defects(algorithm).is_empty()
        {
            // Not checked: a key that somebody has meddled with says nothing about the token.
            mechanism::sign(session, key, alg, CANARY)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The label of a key of ours.
pub(super) fn label_of(label: &[u8]) -> Option<Label> {
    std::str::from_utf8(label).ok()?.parse().ok()
}
