//! What a token does that its list of mechanisms does not say: whether it honours attributes, holds our records, and lets
//! several sessions work at once.

use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::super::error::Failure;
use super::super::mechanism;
use super::super::object::{self, Design, Handles};
use super::super::token::{Token, close};
use super::{LABEL, another, sweep};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::examination::{Examination, Finding};
use crate::backend::{Error, RsaBits};

const RS256: RingAlgorithm = RingAlgorithm::Signature(SignatureAlgorithm::Rs256);
const ES256: RingAlgorithm = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
const EDDSA: RingAlgorithm = RingAlgorithm::Signature(SignatureAlgorithm::EdDsa);
const OAEP: RingAlgorithm = RingAlgorithm::Decryption(DecryptionAlgorithm::RsaOaep);
const ECDH: RingAlgorithm = RingAlgorithm::Decryption(DecryptionAlgorithm::EcdhEsP256);

/// How many threads make keys at once, and how many keys each.
const MAKERS: usize = 3;
const MADE: usize = 4;

/// The token that lies there.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) token: &'a Token,
    pub(super) slot: Slot,
    pub(super) session: &'a Session,
}

impl Bench<'_> {
    /// A key that lives as long as the session.
    fn passing(&self, algorithm: RingAlgorithm) -> Result<Handles, Failure> {
        Ok(object::generate(self.session, &design(algorithm, None))?)
    }

    /// A key that lasts until it is swept away, with its id.
    pub(super) fn lasting(
        session: &Session,
        algorithm: RingAlgorithm,
    ) -> Result<([u8; 16], Handles), Failure> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| Error::Device("no random octets".to_owned()))?;
        let handles = object::generate(session, &design(algorithm, Some((LABEL, &id))))?;
        Ok((id, handles))
    }

    /// Whether keys are what they were asked to be.
    pub(super) fn attributes(&self, found: &mut Examination) {
        let signing = [ES256, RS256, EDDSA].into_iter().find(|it| found.can(*it));
        if let Some(algorithm) = signing {
            note(found, "key attributes", || self.is_as_asked(algorithm));
            note(found, "CKA_SENSITIVE", || self.is_secret(algorithm));
        }
        let other = [(ECDH, ES256), (OAEP, RS256)];
        let other = other
            .into_iter()
            .find(|(can, cannot)| found.can(*can) && found.can(*cannot));
        if let Some((can, RingAlgorithm::Signature(cannot))) = other {
            note(found, "CKA_SIGN", || self.is_kept_from_signing(can, cannot));
        }
        if found.can(RS256) {
            note(found, "CKA_ALLOWED_MECHANISMS", || {
                self.keeps_to_mechanisms()
            });
        }
        if found.can(ES256) {
            note(found, "digest length", || self.counts_digests());
        }
        if found.can(EDDSA) {
            note(found, "Ed25519 point", || self.ed25519_point());
        }
    }

    fn is_as_asked(&self, algorithm: RingAlgorithm) -> Result<Finding, Failure> {
        let (_, private) = self.passing(algorithm)?;
        let defects = object::describe(self.session, private)?.defects(algorithm);
        let finding = match defects.is_empty() {
            true => Finding::good(
                "key attributes",
                "made in the token, sensitive, never extractable, of one usage",
            ),
            false => Finding::odd("key attributes", defects.join(", ")),
        };
        Ok(finding.essential())
    }

    fn is_secret(&self, algorithm: RingAlgorithm) -> Result<Finding, Failure> {
        let (_, private) = self.passing(algorithm)?;
        let wanted = [AttributeType::Value, AttributeType::PrivateExponent];
        // A refusal is what is wanted.
        let told = self
            .session
            .get_attributes(private, &wanted)
            .unwrap_or_default();
        let is_told = told.iter().any(|attribute| match attribute {
            Attribute::Value(value) | Attribute::PrivateExponent(value) => !value.is_empty(),
            _ => false,
        });
        let finding = match is_told {
            true => Finding::odd("CKA_SENSITIVE", "ignored: a private key was read"),
            false => Finding::good("CKA_SENSITIVE", "honoured: a private key cannot be read"),
        };
        Ok(finding.essential())
    }

    fn is_kept_from_signing(
        &self,
        can: RingAlgorithm,
        cannot: SignatureAlgorithm,
    ) -> Result<Finding, Failure> {
        let (_, private) = self.passing(can)?;
        let asked = mechanism::sign(self.session, private, cannot, b"doctor");
        Ok(match asked {
            Err(_) => Finding::good("CKA_SIGN", "false is honoured"),
            Ok(_) => Finding::odd(
                "CKA_SIGN",
                "false is ignored: a key signs that is for something else (the service itself keeps each key to its ring)",
            ),
        })
    }

    fn keeps_to_mechanisms(&self) -> Result<Finding, Failure> {
        const NAME: &str = "CKA_ALLOWED_MECHANISMS";
        let public = [
            Attribute::Token(false),
            Attribute::ModulusBits(2048.into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        let private = [
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::AllowedMechanisms(vec![MechanismType::RSA_PKCS_PSS]),
        ];
        let made = self
            .session
            .generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private);
        let Ok((_, key)) = made else {
            return Ok(Finding::odd(
                NAME,
                "not known here (the service does not use it)",
            ));
        };
        Ok(
            match mechanism::sign(self.session, key, SignatureAlgorithm::Rs256, b"doctor") {
                Err(_) => Finding::good(NAME, "honoured"),
                Ok(_) => Finding::odd(NAME, "ignored (the service does not use it)"),
            },
        )
    }

    fn counts_digests(&self) -> Result<Finding, Failure> {
        let (_, private) = self.passing(ES256)?;
        let asked = self.session.sign(&Mechanism::Ecdsa, private, &[1; 70]);
        Ok(match asked {
            Err(_) => Finding::good("digest length", "checked"),
            Ok(_) => Finding::odd(
                "digest length",
                "not checked: 70 octets were signed as a digest (the service hashes by itself)",
            ),
        })
    }

    fn ed25519_point(&self) -> Result<Finding, Failure> {
        let (public, _) = self.passing(EDDSA)?;
        let public = public.ok_or(Error::NoSuchKey)?;
        let told = self
            .session
            .get_attributes(public, &[AttributeType::EcPoint])?;
        Ok(match told.as_slice() {
            [Attribute::EcPoint(point)] if point.len() == 32 => {
                Finding::good("Ed25519 point", "the 32 octets themselves")
            }
            [Attribute::EcPoint(point)] if point.len() == 34 => {
                Finding::good("Ed25519 point", "DER of an OCTET STRING")
            }
            _ => Finding::odd("Ed25519 point", "of a form that is not known"),
        })
    }

    /// Whether the token holds what is written beside keys.
    pub(super) fn objects(&self, found: &mut Examination) {
        note(found, "CKO_DATA", || {
            self.holds_records().map_err(|failure| {
                let error = Error::from(failure);
                Failure::Final(Error::Device(format!(
                    "{error}: tombstones have no place, so no key could be revoked"
                )))
            })
        });
        if let Some(finding) = found.findings.iter_mut().find(|it| it.name == "CKO_DATA") {
            finding.is_essential = true;
        }
        sweep(self.session);
    }

    fn holds_records(&self) -> Result<Finding, Failure> {
        let name = [
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Label(LABEL.as_bytes().to_vec()),
        ];
        let mut written = name.to_vec();
        written.extend([
            Attribute::Private(true),
            Attribute::Modifiable(false),
            Attribute::Application(LABEL.as_bytes().to_vec()),
            Attribute::Value(b"written".to_vec()),
        ]);
        self.session.create_object(&written)?;
        let find = |session: &Session| -> Result<ObjectHandle, Failure> {
            let objects = session.find_objects(&name)?;
            let gone = || Error::Device("what was written is not found".to_owned());
            Ok(*objects.first().ok_or_else(gone)?)
        };
        let read = |session: &Session| -> Result<Vec<Attribute>, Failure> {
            Ok(session.get_attributes(find(session)?, &[AttributeType::Value])?)
        };
        if read(self.session)? != [Attribute::Value(b"written".to_vec())] {
            return Err(Error::Device("a value came back changed".to_owned()).into());
        }
        let object = find(self.session)?;
        let other = [Attribute::Value(b"changed".to_vec())];
        let is_changed =
            self.session.update_attributes(object, &other).is_ok() && read(self.session)? == other;
        Ok(match is_changed {
            false => Finding::good("CKO_DATA", "held, and its value cannot be changed"),
            true => Finding::good(
                "CKO_DATA",
                "held; CKA_MODIFIABLE=false is ignored: whoever has the PIN can change a tombstone",
            ),
        })
    }

    /// Whether sessions get on with each other.
    pub(super) fn sessions(&self, found: &mut Examination) {
        let algorithm = [ES256, RS256].into_iter().find(|it| found.can(*it));
        let Some(algorithm) = algorithm else { return };
        note(found, "other sessions", || self.sees_new_keys(algorithm));
        sweep(self.session);
        note(found, "keys made at once", || self.makes_at_once(algorithm));
        sweep(self.session);
    }

    fn sees_new_keys(&self, algorithm: RingAlgorithm) -> Result<Finding, Failure> {
        let other = another(self.token, self.slot)?;
        let seen = Self::lasting(self.session, algorithm).and_then(|(id, _)| {
            let id = crate::backend::KeyId(id.into());
            Ok(object::find(&other, algorithm, &id)?.len())
        });
        close(other);
        Ok(match seen? {
            1 => Finding::good("other sessions", "a new key is seen at once"),
            _ => Finding::odd("other sessions", "a new key is not seen at once").essential(),
        })
    }

    fn makes_at_once(&self, algorithm: RingAlgorithm) -> Result<Finding, Failure> {
        // Taken out of `self`, whose session is for one thread.
        let (token, slot) = (self.token, self.slot);
        let make = || -> Result<(), Error> {
            let session = another(token, slot)?;
            let made = (0..MADE).try_for_each(|_| Self::lasting(&session, algorithm).map(drop));
            close(session);
            made.map_err(Error::from)
        };
        let refused = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..MAKERS).map(|_| scope.spawn(make)).collect();
            let outcomes = makers.into_iter().map(|maker| match maker.join() {
                Ok(outcome) => outcome.err(),
                Err(_) => Some(Error::Device("a panic".to_owned())),
            });
            outcomes.flatten().last()
        });
        Ok(match refused {
            None => Finding::good("keys made at once", "by several threads"),
            Some(error) => Finding::odd(
                "keys made at once",
                format!("{error} (the service makes one at a time, and tries again)"),
            ),
        })
    }

    /// What is known of such tokens where several processes share them.
    pub(super) fn replicas(&self, found: &mut Examination) {
        if self.token.announcements.is_some() {
            found.findings.push(Finding::odd(
                "other processes",
                "one that writes does not see what another wrote just before (the service writes again, so that it does)",
            ));
        }
    }
}

/// Writes down what a trial shows, or why there is none.
fn note(
    found: &mut Examination,
    name: &'static str,
    attempt: impl FnOnce() -> Result<Finding, Failure>,
) {
    let finding =
        attempt().unwrap_or_else(|failure| Finding::odd(name, Error::from(failure).to_string()));
    found.findings.push(finding);
}

fn design<'a>(algorithm: RingAlgorithm, lasting: Option<(&'a str, &'a [u8])>) -> Design<'a> {
    Design {
        algorithm,
        rsa_bits: RsaBits::B2048,
        lasting,
    }
}
