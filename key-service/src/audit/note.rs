//! Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint): what the log's own key says of it, in the form
//! that witnesses and monitors of transparency logs read.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::algorithm::SignatureAlgorithm;
use crate::backend::{Curve, PublicKey};
use crate::signature;

use super::tree::{self, Hash};

/// What begins a signature line: U+2014 and a space.
const DASH: &str = "— ";
/// The type of an Ed25519 signature.
const ED25519: u8 = 1;
/// The type of an ECDSA signature, for tokens that have no Ed25519.
const ECDSA: u8 = 2;
/// SubjectPublicKeyInfo of a point on P-256 (RFC 5480 §2), up to the uncompressed point.
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The most signature lines of a note.
const SIGNATURES: usize = 16;

/// Why a text is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `NAME+ID+KEY` it is not.
    #[error("not a verifier key such as example.com/log+c00b5a1e+AQ…")]
    Key,
    /// A text, an empty line and signature lines it is not.
    #[error("not a signed note")]
    Note,
    /// Origin, size and root it is not.
    #[error("not a checkpoint")]
    Checkpoint,
}

/// A public key with the name of who signs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    algorithm: SignatureAlgorithm,
    public: PublicKey,
}

impl VerifierKey {
    /// `None` for a key of a kind that has no place in a note.
    #[must_use]
    pub fn new(name: &str, public: &PublicKey) -> Option<VerifierKey> {
        let (algorithm, id) = match public {
            PublicKey::Ed25519 { x } => {
                let id = tree::hash(&[name.as_bytes(), b"\n", &[ED25519], x]);
                (SignatureAlgorithm::EdDsa, id)
            }
            PublicKey::Ec {
                curve: Curve::P256,
                x,
                y,
            } => {
                // "The truncated SHA-256 hash of the DER encoded public key in SPKI format."
                let id = tree::hash(&[&SPKI_P256, &[4], x, y]);
                (SignatureAlgorithm::Es256, id)
            }
            _ => return None,
        };
        let is_name = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        is_name.then(|| VerifierKey {
            name: name.to_owned(),
            id: [id[0], id[1], id[2], id[3]],
            algorithm,
            public: public.clone(),
        })
    }

    /// Who signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With what.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The signature line of a signature in JOSE's form (RFC 7518 §3.4, RFC 8037 §3.1).
    #[must_use]
    pub fn line(&self, signature: &[u8]) -> String {
        let mut octets = self.id.to_vec();
        match self.algorithm {
            SignatureAlgorithm::Es256 => {
                let der = signature::der_from_fixed(Curve::P256, signature);
                octets.extend(der.unwrap_or_default());
            }
            _ => octets.extend_from_slice(signature),
        }
        format!("{DASH}{} {}\n", self.name, STANDARD.encode(octets))
    }

    /// Whether this key signed the note: `None` where the note has no signature of it.
    #[must_use]
    pub fn verifies(&self, note: &Note) -> Option<bool> {
        let own = |signature: &&Signature| signature.name == self.name && signature.id == self.id;
        let octets = &note.signatures.iter().find(own)?.octets;
        let fixed = match self.algorithm {
            SignatureAlgorithm::Es256 => signature::fixed_from_der(Curve::P256, octets),
            _ => Some(octets.clone()),
        };
        Some(fixed.is_some_and(|fixed| {
            let text = note.text.as_bytes();
            signature::verify(self.algorithm, &self.public, text, &fixed).is_ok()
        }))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.public {
            PublicKey::Ed25519 { x } => [&[ED25519][..], x].concat(),
            PublicKey::Ec { x, y, .. } => [&[ECDSA][..], &SPKI_P256, &[4], x, y].concat(),
            _ => return Err(fmt::Error),
        };
        let id = u32::from_be_bytes(self.id);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<VerifierKey, Malformed> {
        // The key may hold plus signs, the name may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Malformed::Key);
        };
        let octets = STANDARD.decode(key).map_err(|_| Malformed::Key)?;
        let public = match octets.split_first() {
            Some((&ED25519, x)) => PublicKey::Ed25519 {
                x: x.try_into().map_err(|_| Malformed::Key)?,
            },
            Some((&ECDSA, spki)) => match spki.strip_prefix(&SPKI_P256) {
                Some([4, point @ ..]) if point.len() == 64 => PublicKey::Ec {
                    curve: Curve::P256,
                    x: point[..32].to_vec(),
                    y: point[32..].to_vec(),
                },
                _ => return Err(Malformed::Key),
            },
            _ => return Err(Malformed::Key),
        };
        let key = VerifierKey::new(name, &public).ok_or(Malformed::Key)?;
        let own = format!("{:08x}", u32::from_be_bytes(key.id));
        (own == id).then_some(key).ok_or(Malformed::Key)
    }
}

#[derive(Debug, Clone)]
struct Signature {
    name: String,
    id: [u8; 4],
    octets: Vec<u8>,
}

/// A text and who signed it.
#[derive(Debug, Clone)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl FromStr for Note {
    type Err = Malformed;

    fn from_str(note: &str) -> Result<Note, Malformed> {
        if note.chars().any(|c| c < ' ' && c != '\n') || !note.ends_with('\n') {
            return Err(Malformed::Note);
        }
        let end = note.rfind("\n\n").ok_or(Malformed::Note)? + 1;
        let mut signatures = Vec::new();
        for line in note[end + 1..].lines() {
            let line = line.strip_prefix(DASH).ok_or(Malformed::Note)?;
            let (name, signature) = line.split_once(' ').ok_or(Malformed::Note)?;
            let octets = STANDARD.decode(signature).map_err(|_| Malformed::Note)?;
            let (id, octets) = octets.split_first_chunk().ok_or(Malformed::Note)?;
            signatures.push(Signature {
                name: name.to_owned(),
                id: *id,
                octets: octets.to_vec(),
            });
        }
        if signatures.is_empty() || signatures.len() > SIGNATURES {
            return Err(Malformed::Note);
        }
        Ok(Note {
            text: note[..end].to_owned(),
            signatures,
        })
    }
}

impl Note {
    /// What was signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A log at some size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)
    }
}

impl FromStr for Checkpoint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Checkpoint, Malformed> {
        let mut lines = text.lines();
        let mut next = || lines.next().ok_or(Malformed::Checkpoint);
        let (origin, size, root) = (next()?, next()?, next()?);
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| Malformed::Checkpoint)?,
            root: STANDARD
                .decode(root)
                .ok()
                .and_then(|root| root.try_into().ok())
                .ok_or(Malformed::Checkpoint)?,
        };
        // Written the one way there is; lines after it would be somebody's extensions, and we write none.
        let is_ours = !origin.is_empty() && checkpoint.to_string() == text;
        is_ours.then_some(checkpoint).ok_or(Malformed::Checkpoint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the specification of the verifier key's form (golang.org/x/mod/sumdb/note).
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ANSWER: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn notes_of_others_are_read() {
        let key: VerifierKey = PETER.parse().unwrap();
        assert_eq!(key.to_string(), PETER);
        let note: Note = ANSWER.parse().unwrap();
        assert_eq!(key.verifies(&note), Some(true));
        let other: Note = ANSWER.replace("problem is", "answer is").parse().unwrap();
        assert_eq!(key.verifies(&other), Some(false));
        let stranger: Note = ANSWER.replace("— Peter", "— Paul").parse().unwrap();
        assert_eq!(key.verifies(&stranger), None);
        for wrong in [
            "",
            "\n\n",
            "text\n",
            "text\n\nno dash\n",
            "a\rb\n\n— x AAAAAA==\n",
        ] {
            assert!(wrong.parse::<Note>().is_err(), "{wrong:?}");
        }
        for wrong in ["", "a+b", "a+00000000+AQ==", &PETER.replace("c74f", "c74e")] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_checkpoint_has_one_form() {
        let checkpoint = Checkpoint {
            origin: "issuer.example/audit".to_owned(),
            size: 12,
            root: [7; 32],
        };
        let text = checkpoint.to_string();
        assert_eq!(text.parse(), Ok(checkpoint));
        for (from, to) in [("12", "012"), ("12", "+12"), ("issuer.example/audit", "")] {
            assert!(text.replace(from, to).parse::<Checkpoint>().is_err());
        }
        assert!(format!("{text}more\n").parse::<Checkpoint>().is_err());
    }

    #[test]
    fn both_kinds_of_key_have_a_verifier_key() {
        let x = [9; 32];
        let keys = [
            PublicKey::Ed25519 { x },
            PublicKey::Ec {
                curve: Curve::P256,
                x: vec![1; 32],
                y: vec![2; 32],
            },
        ];
        for public in keys {
            let key = VerifierKey::new("a.example/log", &public).unwrap();
            assert_eq!(key.to_string().parse(), Ok(key));
            assert!(VerifierKey::new("a b", &public).is_none());
            assert!(VerifierKey::new("a+b", &public).is_none());
        }
        assert!(VerifierKey::new("a", &PublicKey::X25519 { x }).is_none());
    }
}
