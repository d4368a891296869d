//! Hashes of passwords as strings: argon2id (RFC 9106), PBKDF2 (RFC 8018 §5.2) and bcrypt, in the spellings that
//! other programs write; and a plain SHA-256 for secrets that were generated with 256 bits.
//!
//! A string is parsed once, when the configuration is read, and refused there when it could not be verified, costs
//! too little to protect or costs more than a login may.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD_NO_PAD};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};

use crate::random::Random;
use crate::secret;

// The base64 of PHC strings; both it and passlib's, which writes `.` for `+`, are read with or without padding.
const B64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

// KiB. What one verification may take is bounded, as several run at once.
const ARGON2_MEMORY: std::ops::RangeInclusive<u32> = 7 * 1024..=1024 * 1024;
// Passes times KiB: about four seconds.
const ARGON2_WORK: u64 = 4 * 1024 * 1024;
const PBKDF2_ROUNDS: std::ops::RangeInclusive<u32> = 10_000..=10_000_000;
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 8..=16;

/// A hash that a password can be compared with.
#[derive(Clone)]
pub struct PasswordHash {
    kind: Kind,
    text: String,
}

#[derive(Clone)]
enum Kind {
    Argon2id {
        params: Params,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Pbkdf2 {
        function: Function,
        rounds: u32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Bcrypt,
    Sha256([u8; 32]),
    /// Of a secret that is used as a key.
    OfKey([u8; 32]),
}

#[derive(Clone, Copy)]
enum Function {
    Sha256,
    Sha512,
}

/// What the hash of a secret that is a key covers before it.
const KEY_LABEL: &[u8] = b"signet: the hash of a secret that is used as a key\0";

/// Why a string is not a usable hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable password hash: {0}")]
pub struct Unusable(&'static str);

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// It is not one, or its cost is out of bounds.
    pub fn parse(text: &str) -> Result<PasswordHash, Unusable> {
        let mut fields = text.split('$');
        if fields.next() != Some("") {
            return Err(Unusable("it must begin with $"));
        }
        let name = fields.next().unwrap_or_default();
        let rest: Vec<&str> = fields.collect();
        let kind = match (name, &rest[..]) {
            ("argon2id", ["v=19", parameters, salt, hash]) => argon2id(parameters, salt, hash)?,
            ("argon2id", _) => return Err(Unusable("argon2id needs $v=19$m=…,t=…,p=…$salt$hash")),
            ("pbkdf2-sha256", [rounds, salt, hash]) => {
                pbkdf2(Function::Sha256, rounds, salt, hash)?
            }
            ("pbkdf2-sha512", [rounds, salt, hash]) => {
                pbkdf2(Function::Sha512, rounds, salt, hash)?
            }
            ("pbkdf2-sha256" | "pbkdf2-sha512", _) => {
                return Err(Unusable("pbkdf2 needs $rounds$salt$hash"));
            }
            ("2a" | "2b" | "2y", _) => bcrypt(text)?,
            ("sha256", [hash]) => Kind::Sha256(sha256(hash)?),
            ("sha256-key", [hash]) => Kind::OfKey(sha256(hash)?),
            ("argon2i" | "argon2d", _) => {
                return Err(Unusable("of the argon2 family only argon2id is read"));
            }
            _ => {
                return Err(Unusable(
                    "it must begin with $argon2id$, $pbkdf2-sha256$, $pbkdf2-sha512$, $2a$, $2b$, $2y$, $sha256$ or $sha256-key$",
                ));
            }
        };
        Ok(PasswordHash {
            kind,
            text: text.to_owned(),
        })
    }

    /// The hash of a secret with at least 256 random bits: only for those is a fast hash safe.
    pub fn of_generated(generated: &str) -> PasswordHash {
        let hash: [u8; 32] = Sha256::digest(generated.as_bytes()).into();
        PasswordHash {
            text: format!("$sha256${}", URL_SAFE_NO_PAD.encode(hash)),
            kind: Kind::Sha256(hash),
        }
    }

    /// The same of a secret that is used as a key. SHA-256 of the secret alone *is* the key of symmetric encryption (OpenID
    /// Connect Core §10.2), and of HS256 where the secret is longer than 64 octets (RFC 2104 §2).
    pub fn of_key(generated: &str) -> PasswordHash {
        let hash = labelled(generated.as_bytes());
        PasswordHash {
            text: format!("$sha256-key${}", URL_SAFE_NO_PAD.encode(hash)),
            kind: Kind::OfKey(hash),
        }
    }

    /// Whether it would do as a key for who knows it: it is SHA-256 of the secret alone.
    pub(crate) fn is_a_key_itself(&self) -> bool {
        matches!(self.kind, Kind::Sha256(_))
    }

    /// The hash of a password: argon2id with 19 MiB, two passes and one lane. Takes tens of milliseconds.
    pub fn of_password(password: &str, random: &Random) -> PasswordHash {
        let salt = random.octets::<16>().to_vec();
        let params = Params::DEFAULT;
        let hash = argon2id_of(
            password.as_bytes(),
            &params,
            &salt,
            Params::DEFAULT_OUTPUT_LEN,
        );
        let text = format!(
            "$argon2id$v=19$m={},t={},p={}${}${}",
            params.m_cost(),
            params.t_cost(),
            params.p_cost(),
            STANDARD_NO_PAD.encode(&salt),
            STANDARD_NO_PAD.encode(&hash)
        );
        let kind = Kind::Argon2id { params, salt, hash };
        PasswordHash { kind, text }
    }

    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether verifying takes next to nothing, and so needs no place in the queue.
    pub(super) fn is_fast(&self) -> bool {
        matches!(self.kind, Kind::Sha256(_) | Kind::OfKey(_))
    }

    /// Compares what was presented with a generated secret; with anything else it is not equal.
    pub(crate) fn is_of_generated(&self, presented: &str) -> bool {
        self.is_fast() && self.verify(presented)
    }

    /// Compares. Takes as long as the hash was made to take; the comparison itself is in constant time.
    pub(super) fn verify(&self, password: &str) -> bool {
        let password = password.as_bytes();
        match &self.kind {
            Kind::Argon2id { params, salt, hash } => {
                secret::equal(&argon2id_of(password, params, salt, hash.len()), hash)
            }
            Kind::Pbkdf2 {
                function,
                rounds,
                salt,
                hash,
            } => {
                let mut computed = vec![0; hash.len()];
                match function {
                    Function::Sha256 => {
                        pbkdf2_hmac::<Sha256>(password, salt, *rounds, &mut computed)
                    }
                    Function::Sha512 => {
                        pbkdf2_hmac::<Sha512>(password, salt, *rounds, &mut computed)
                    }
                }
                secret::equal(&computed, hash)
            }
            // bcrypt looks at 72 octets and no more; what was hashed elsewhere was cut there too.
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Sha256(hash) => secret::equal(&Sha256::digest(password), hash),
            Kind::OfKey(hash) => secret::equal(&labelled(password), hash),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[hash]")
    }
}

fn argon2id_of(password: &[u8], params: &Params, salt: &[u8], length: usize) -> Vec<u8> {
    let mut hash = vec![0; length];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into(password, salt, &mut hash)
        .expect("parameters, salt and length were checked when the hash was parsed");
    hash
}

fn argon2id(parameters: &str, salt: &str, hash: &str) -> Result<Kind, Unusable> {
    const PARAMETERS: Unusable = Unusable("argon2id's parameters must be m=…,t=…,p=…");
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for parameter in parameters.split(',') {
        let (name, value) = parameter.split_once('=').ok_or(PARAMETERS)?;
        let slot = match name {
            "m" => &mut memory,
            "t" => &mut passes,
            "p" => &mut lanes,
            _ => return Err(PARAMETERS),
        };
        if slot
            .replace(value.parse::<u32>().map_err(|_| PARAMETERS)?)
            .is_some()
        {
            return Err(PARAMETERS);
        }
    }
    let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
        return Err(PARAMETERS);
    };
    if !ARGON2_MEMORY.contains(&memory) {
        return Err(Unusable("argon2id's memory must be from 7 MiB to 1 GiB"));
    }
    if passes == 0 || u64::from(passes) * u64::from(memory) > ARGON2_WORK {
        return Err(Unusable(
            "argon2id's passes times memory must be at most 4 GiB",
        ));
    }
    if !(1..=16).contains(&lanes) {
        return Err(Unusable("argon2id's lanes must be from 1 to 16"));
    }
    let (salt, hash) = salt_and_hash(salt, hash)?;
    let params = Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| PARAMETERS)?;
    Ok(Kind::Argon2id { params, salt, hash })
}

// `310000` as passlib and others write it, or the parameters of a PHC string, `i=310000,l=64`.
fn pbkdf2(function: Function, rounds: &str, salt: &str, hash: &str) -> Result<Kind, Unusable> {
    const ROUNDS: Unusable = Unusable("pbkdf2's rounds must be from 10000 to 10000000");
    let (salt, hash) = salt_and_hash(salt, hash)?;
    let mut parameters = rounds.split(',');
    let rounds = parameters.next().unwrap_or_default();
    let rounds: u32 = rounds
        .strip_prefix("i=")
        .unwrap_or(rounds)
        .parse()
        .map_err(|_| ROUNDS)?;
    if !PBKDF2_ROUNDS.contains(&rounds) {
        return Err(ROUNDS);
    }
    for parameter in parameters {
        if parameter
            .strip_prefix("l=")
            .and_then(|length| length.parse().ok())
            != Some(hash.len())
        {
            return Err(Unusable(
                "pbkdf2's only other parameter is l, the length of the hash",
            ));
        }
    }
    Ok(Kind::Pbkdf2 {
        function,
        rounds,
        salt,
        hash,
    })
}

fn salt_and_hash(salt: &str, hash: &str) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let decode = |text: &str| {
        B64.decode(text.replace('.', "+"))
            .map_err(|_| Unusable("its salt and hash must be base64"))
    };
    let (salt, hash) = (decode(salt)?, decode(hash)?);
    if !(8..=64).contains(&salt.len()) {
        return Err(Unusable("its salt must have from 8 to 64 octets"));
    }
    if !(16..=64).contains(&hash.len()) {
        return Err(Unusable("its hash must have from 16 to 64 octets"));
    }
    Ok((salt, hash))
}

fn bcrypt(text: &str) -> Result<Kind, Unusable> {
    let parts: bcrypt::HashParts = text
        .parse()
        .map_err(|_| Unusable("bcrypt needs $2b$cost$ and 53 characters"))?;
    if !BCRYPT_COST.contains(&parts.get_cost()) {
        return Err(Unusable("bcrypt's cost must be from 8 to 16"));
    }
    Ok(Kind::Bcrypt)
}

fn sha256(hash: &str) -> Result<[u8; 32], Unusable> {
    let mut octets = [0; 32];
    match URL_SAFE_NO_PAD.decode_slice(hash, &mut octets) {
        Ok(32) => Ok(octets),
        _ => Err(Unusable(
            "$sha256$ and $sha256-key$ need 43 characters of base64url",
        )),
    }
}

fn labelled(secret: &[u8]) -> [u8; 32] {
    let sha256 = Sha256::new_with_prefix(KEY_LABEL);
    sha256.chain_update(secret).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_other_programs() {
        // argon2id: the reference program. pbkdf2: passlib, and the same as a PHC string. bcrypt: OpenBSD's form.
        for (password, text) in [
            (
                "password",
                "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            ),
            (
                "correct horse",
                "$pbkdf2-sha256$10000$ZGVmZ2hpamtsbW5vcHFycw$ZrjGqJo2naIW5s1lfOEbimgIWUpCR5uEVhabU8XwNvc",
            ),
            (
                "correct horse",
                "$pbkdf2-sha256$i=10000,l=32$ZGVmZ2hpamtsbW5vcHFycw==$ZrjGqJo2naIW5s1lfOEbimgIWUpCR5uEVhabU8XwNvc=",
            ),
            (
                "correct horse",
                "$pbkdf2-sha512$10000$ZGVmZ2hpamtsbW5vcHFycw$rDW5hYGixJRTyME/w4aDI1srYapePXfFjLnegaDezbloQ0BOQ/ddFLwzb8xQ86gDw2RHQ9BjBWihkg91KbtRHw",
            ),
            (
                "correct horse",
                "$pbkdf2-sha512$i=10000$ZGVmZ2hpamtsbW5vcHFycw$rDW5hYGixJRTyME/w4aDI1srYapePXfFjLnegaDezbloQ0BOQ/ddFLwzb8xQ86gDw2RHQ9BjBWihkg91KbtRHw",
            ),
            (
                "correct horse",
                "$2b$08$R9h/cIPz0gi.URNNX3kh2O66/UbsNvzjGPT6Wcoc1rKUP9HJNbFF2",
            ),
            (
                "correct horse",
                "$2y$08$R9h/cIPz0gi.URNNX3kh2O66/UbsNvzjGPT6Wcoc1rKUP9HJNbFF2",
            ),
        ] {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(hash.verify(password), "{text}");
            assert!(!hash.verify(&format!("{password}x")), "{text}");
            assert!(!hash.verify(""), "{text}");
        }
    }

    #[test]
    fn own_hashes_are_read_back() {
        let random = Random::new().unwrap();
        for hash in [
            PasswordHash::of_password("pässword", &random),
            PasswordHash::of_generated("pässword"),
            PasswordHash::of_key("pässword"),
        ] {
            let again = PasswordHash::parse(hash.as_str()).unwrap();
            assert!(again.verify("pässword"));
            assert!(!again.verify("passwort"));
            assert_eq!(format!("{again:?}"), "[hash]");
        }
    }

    #[test]
    fn what_is_not_a_usable_hash() {
        let salt = "c29tZXNhbHQ";
        let hash = "RdescudvJCsgt3ub+b0TPjFXZC+9VpHnN0FVcBuyZ6E";
        for (text, reason) in [
            (String::new(), "begin with $"),
            ("hunter2".to_owned(), "begin with $"),
            ("$md5$x".to_owned(), "begin with $argon2id$"),
            (
                format!("$argon2i$v=19$m=65536,t=2,p=1${salt}${hash}"),
                "only argon2id",
            ),
            (format!("$argon2id$m=65536,t=2,p=1${salt}${hash}"), "$v=19$"),
            (
                format!("$argon2id$v=19$m=65536,t=2${salt}${hash}"),
                "m=…,t=…,p=…",
            ),
            (
                format!("$argon2id$v=19$m=65536,t=2,p=1,p=1${salt}${hash}"),
                "m=…,t=…,p=…",
            ),
            (
                format!("$argon2id$v=19$m=2097152,t=2,p=1${salt}${hash}"),
                "1 GiB",
            ),
            (format!("$argon2id$v=19$m=8,t=2,p=1${salt}${hash}"), "7 MiB"),
            (
                format!("$argon2id$v=19$m=65536,t=1000,p=1${salt}${hash}"),
                "4 GiB",
            ),
            (
                format!("$argon2id$v=19$m=65536,t=0,p=1${salt}${hash}"),
                "4 GiB",
            ),
            (
                format!("$argon2id$v=19$m=65536,t=2,p=1${salt}$AAAA"),
                "16 to 64",
            ),
            (
                format!("$argon2id$v=19$m=65536,t=2,p=1$AAAA${hash}"),
                "8 to 64",
            ),
            (
                format!("$argon2id$v=19$m=65536,t=2,p=1$!!${hash}"),
                "base64",
            ),
            (format!("$pbkdf2-sha512$1${salt}${hash}"), "10000"),
            (format!("$pbkdf2-sha512$100000000${salt}${hash}"), "10000"),
            (
                format!("$pbkdf2-sha512$i=310000,l=7${salt}${hash}"),
                "length",
            ),
            (format!("$pbkdf2-sha512$310000${salt}"), "$rounds$salt$hash"),
            (
                "$2b$31$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned(),
                "cost",
            ),
            ("$2b$12$short".to_owned(), "53 characters"),
            ("$sha256$AAAA".to_owned(), "43 characters"),
            ("$sha256-key$AAAA".to_owned(), "43 characters"),
        ] {
            let error = PasswordHash::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
