//! What our keys look like in a token: the templates that make them, and the check that they still look like that
//! (CKA_LOCAL, never extractable, one usage: NIST SP 800-57 part 1 §5.2).

use cryptoki::error::Result;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use p256::pkcs8::der::Decode as _;
use p256::pkcs8::der::asn1::OctetStringRef;

use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::record::LABEL_PREFIX;
use crate::backend::{Curve, KeyId, Point, PublicKey, RsaBits, weakness};

/// CKA_APPLICATION of our data objects.
pub(super) const APPLICATION: &[u8] = b"signet";

/// DER of the curves' object identifiers (RFC 5480 §2.1.1.1, RFC 8410 §3).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const X25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x6e];

/// What a key is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Material {
    Rsa,
    Ec(Curve),
    Ed25519,
    X25519,
    Aes,
    Secret,
}

impl Material {
    fn of(algorithm: RingAlgorithm) -> Material {
        match algorithm {
            RingAlgorithm::Signature(SignatureAlgorithm::EdDsa) => Material::Ed25519,
            RingAlgorithm::Signature(alg) => alg.curve().map_or(Material::Rsa, Material::Ec),
            RingAlgorithm::Decryption(DecryptionAlgorithm::EcdhEsX25519) => Material::X25519,
            RingAlgorithm::Decryption(alg) => alg.curve().map_or(Material::Rsa, Material::Ec),
            RingAlgorithm::Seal => Material::Aes,
            RingAlgorithm::Mac => Material::Secret,
        }
    }

    fn key_type(self) -> KeyType {
        match self {
            Material::Rsa => KeyType::RSA,
            Material::Ec(_) => KeyType::EC,
            Material::Ed25519 => KeyType::EC_EDWARDS,
            Material::X25519 => KeyType::EC_MONTGOMERY,
            Material::Aes => KeyType::AES,
            Material::Secret => KeyType::GENERIC_SECRET,
        }
    }

    fn ec_params(self) -> Option<&'static [u8]> {
        match self {
            Material::Ec(Curve::P256) => Some(P256),
            Material::Ec(Curve::P384) => Some(P384),
            Material::Ec(Curve::P521) => Some(P521),
            Material::Ed25519 => Some(ED25519),
            Material::X25519 => Some(X25519),
            Material::Rsa | Material::Aes | Material::Secret => None,
        }
    }
}

/// The only thing that a private key may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usage {
    Sign,
    Decrypt,
    Derive,
    Seal,
    Mac,
}

impl Usage {
    fn of(algorithm: RingAlgorithm) -> Usage {
        match algorithm {
            RingAlgorithm::Signature(_) => Usage::Sign,
            RingAlgorithm::Decryption(
                DecryptionAlgorithm::RsaOaep | DecryptionAlgorithm::RsaOaep256,
            ) => Usage::Decrypt,
            RingAlgorithm::Decryption(_) => Usage::Derive,
            RingAlgorithm::Seal => Usage::Seal,
            RingAlgorithm::Mac => Usage::Mac,
        }
    }

    /// Every usage that a private or secret key can have, and whether this one is among them.
    fn attributes(self) -> Vec<Attribute> {
        let mut attributes = vec![
            Attribute::Sign(matches!(self, Usage::Sign | Usage::Mac)),
            Attribute::Decrypt(matches!(self, Usage::Decrypt | Usage::Seal)),
            Attribute::Derive(self == Usage::Derive),
            Attribute::Unwrap(false),
        ];
        match self {
            Usage::Seal => attributes.extend([
                Attribute::Encrypt(true),
                Attribute::Verify(false),
                Attribute::Wrap(false),
            ]),
            // Verify: the token checks what it computed when the key is tried.
            Usage::Mac => attributes.extend([
                Attribute::Encrypt(false),
                Attribute::Verify(true),
                Attribute::Wrap(false),
            ]),
            Usage::Sign | Usage::Decrypt | Usage::Derive => {
                attributes.push(Attribute::SignRecover(false));
            }
        }
        attributes
    }
}

/// Whether a key of one kind of ring could serve another.
pub(super) fn is_alike(a: RingAlgorithm, b: RingAlgorithm) -> bool {
    Material::of(a) == Material::of(b) && Usage::of(a) == Usage::of(b)
}

/// A key to be made.
pub(super) struct Design<'a> {
    pub(super) algorithm: RingAlgorithm,
    pub(super) rsa_bits: RsaBits,
    /// Its label and id; `None` for a key that lives as long as its session, made to try something.
    pub(super) lasting: Option<(&'a str, &'a [u8])>,
}

/// The handles of a key: public (where there is one) and private or secret.
pub(super) type Handles = (Option<ObjectHandle>, ObjectHandle);

/// Makes a key that cannot leave the token, in one step.
pub(super) fn generate(session: &Session, design: &Design<'_>) -> Result<Handles> {
    let material = Material::of(design.algorithm);
    let usage = Usage::of(design.algorithm);
    let mut names = vec![Attribute::Token(design.lasting.is_some())];
    if let Some((label, id)) = design.lasting {
        names.push(Attribute::Label(label.as_bytes().to_vec()));
        names.push(Attribute::Id(id.to_vec()));
        // The label is part of what is known about a key, and so are its usages.
        names.push(Attribute::Modifiable(false));
    }
    let mut private = names.clone();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ]);
    private.extend(usage.attributes());
    let secret = match material {
        Material::Aes => Some(Mechanism::AesKeyGen),
        Material::Secret => Some(Mechanism::GenericSecretKeyGen),
        _ => None,
    };
    if let Some(mechanism) = secret {
        private.push(Attribute::KeyType(material.key_type()));
        private.push(Attribute::ValueLen(32.into()));
        let key = session.generate_key(&mechanism, &private)?;
        return Ok((None, key));
    }
    let mut public = names;
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(usage == Usage::Sign),
        Attribute::Encrypt(usage == Usage::Decrypt),
        Attribute::Wrap(false),
    ]);
    match material.ec_params() {
        Some(params) => public.push(Attribute::EcParams(params.to_vec())),
        None => public.extend([
            Attribute::ModulusBits(u64::from(design.rsa_bits.bits()).into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ]),
    }
    let mechanism = match material {
        Material::Rsa => Mechanism::RsaPkcsKeyPairGen,
        Material::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        Material::X25519 => Mechanism::EccMontgomeryKeyPairGen,
        Material::Ec(_) | Material::Aes | Material::Secret => Mechanism::EccKeyPairGen,
    };
    let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
    Ok((Some(public), private))
}

/// The private or secret key objects with this id.
pub(super) fn find(
    session: &Session,
    algorithm: RingAlgorithm,
    id: &KeyId,
) -> Result<Vec<ObjectHandle>> {
    session.find_objects(&[
        Attribute::Class(class_of(algorithm)),
        Attribute::Token(true),
        Attribute::Id(id.0.to_vec()),
    ])
}

/// Deletes every object of a key of ours: its private half first, for that is what must not be left behind.
pub(super) fn destroy(session: &Session, id: &KeyId) -> Result<()> {
    for class in [
        ObjectClass::PRIVATE_KEY,
        ObjectClass::SECRET_KEY,
        ObjectClass::PUBLIC_KEY,
    ] {
        let found = session.find_objects(&[
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Id(id.0.to_vec()),
        ])?;
        for object in found {
            let label = session.get_attributes(object, &[AttributeType::Label])?;
            let is_ours = |attribute: &Attribute| matches!(attribute, Attribute::Label(label) if label.starts_with(LABEL_PREFIX.as_bytes()));
            if label.iter().any(is_ours) {
                session.destroy_object(object)?;
            }
        }
    }
    Ok(())
}

/// What is the same in every data object of ours. Whoever has no PIN cannot make such a one, nor change it.
fn of_ours(name: &str) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(name.as_bytes().to_vec()),
    ]
}

/// Writes a data object.
pub(super) fn write(session: &Session, name: &str, value: &[u8]) -> Result<()> {
    let mut object = of_ours(name);
    object.extend([
        Attribute::Modifiable(false),
        Attribute::Value(value.to_vec()),
    ]);
    session.create_object(&object).map(drop)
}

/// Deletes the data objects of this name.
pub(super) fn erase(session: &Session, name: &str) -> Result<()> {
    for object in session.find_objects(&of_ours(name))? {
        session.destroy_object(object)?;
    }
    Ok(())
}

pub(super) fn class_of(algorithm: RingAlgorithm) -> ObjectClass {
    match algorithm {
        RingAlgorithm::Seal | RingAlgorithm::Mac => ObjectClass::SECRET_KEY,
        _ => ObjectClass::PRIVATE_KEY,
    }
}

/// The public key with this id, when there is exactly one and it is of the ring's algorithm.
pub(super) fn find_public(
    session: &Session,
    algorithm: RingAlgorithm,
    id: &KeyId,
) -> Result<Option<PublicKey>> {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Token(true),
        Attribute::Id(id.0.to_vec()),
    ])?;
    match found.as_slice() {
        [one] => read_public(session, algorithm, *one),
        _ => Ok(None),
    }
}

/// Reads a public key object; `None` when it is not of the ring's algorithm, or its point is not on its curve.
pub(super) fn read_public(
    session: &Session,
    algorithm: RingAlgorithm,
    object: ObjectHandle,
) -> Result<Option<PublicKey>> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::EcParams,
        AttributeType::EcPoint,
    ];
    let material = Material::of(algorithm);
    let (mut key_type, mut modulus, mut exponent, mut params, mut point) =
        (None, None, None, None, None);
    for attribute in session.get_attributes(object, &wanted)? {
        match attribute {
            Attribute::KeyType(value) => key_type = Some(value),
            Attribute::Modulus(value) => modulus = Some(value),
            Attribute::PublicExponent(value) => exponent = Some(value),
            Attribute::EcParams(value) => params = Some(value),
            Attribute::EcPoint(value) => point = Some(value),
            _ => {}
        }
    }
    if key_type != Some(material.key_type()) {
        return Ok(None);
    }
    let public = match (material, modulus, exponent, point) {
        (Material::Rsa, Some(n), Some(e), _) => Some(PublicKey::Rsa {
            n: minimal(n),
            e: minimal(e),
        }),
        (Material::Ec(curve), _, _, Some(point)) if params.as_deref() == material.ec_params() => {
            ec_point(curve, &point)
        }
        (Material::Ed25519, _, _, Some(point)) => unwrapped(&point, 32)
            .try_into()
            .ok()
            .map(|x| PublicKey::Ed25519 { x }),
        (Material::X25519, _, _, Some(point)) => unwrapped(&point, 32)
            .try_into()
            .ok()
            .map(|x| PublicKey::X25519 { x }),
        _ => None,
    };
    Ok(public)
}

/// Big integers: some modules answer with leading zeros.
fn minimal(number: Vec<u8>) -> Vec<u8> {
    match number.iter().position(|octet| *octet != 0) {
        Some(zeros) if zeros > 0 => number[zeros..].to_vec(),
        _ => number,
    }
}

/// CKA_EC_POINT is DER of an OCTET STRING (PKCS #11 2.40 §2.3.3); some modules answer with the point itself.
fn unwrapped(value: &[u8], length: usize) -> &[u8] {
    if value.len() == length {
        return value;
    }
    <&OctetStringRef>::from_der(value).map_or(value, OctetStringRef::as_bytes)
}

fn ec_point(curve: Curve, value: &[u8]) -> Option<PublicKey> {
    let [4, coordinates @ ..] = unwrapped(value, 1 + 2 * curve.field_length()) else {
        return None;
    };
    let (x, y) = coordinates.split_at_checked(curve.field_length())?;
    Point::of(curve, x, y).ok()?;
    Some(PublicKey::Ec {
        curve,
        x: x.to_vec(),
        y: y.to_vec(),
    })
}

/// Whether an object goes with its session.
pub(super) fn is_of_the_session(session: &Session, object: ObjectHandle) -> Result<bool> {
    let attributes = session.get_attributes(object, &[AttributeType::Token])?;
    Ok(attributes.contains(&Attribute::Token(false)))
}

/// What a private or secret key object says about itself.
pub(super) struct Description {
    pub(super) label: Vec<u8>,
    pub(super) id: Vec<u8>,
    attributes: Vec<Attribute>,
}

/// Reads what [`Description::defects`] judges.
pub(super) fn describe(session: &Session, object: ObjectHandle) -> Result<Description> {
    let attributes = session.get_attributes(
        object,
        &[
            AttributeType::Label,
            AttributeType::Id,
            AttributeType::KeyType,
            AttributeType::Local,
            AttributeType::Sensitive,
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::NeverExtractable,
            AttributeType::Sign,
            AttributeType::SignRecover,
            AttributeType::Decrypt,
            AttributeType::Unwrap,
            AttributeType::Derive,
            AttributeType::Encrypt,
            AttributeType::Wrap,
        ],
    )?;
    let mut description = Description {
        label: Vec::new(),
        id: Vec::new(),
        attributes: Vec::with_capacity(attributes.len()),
    };
    for attribute in attributes {
        match attribute {
            Attribute::Label(label) => description.label = label,
            Attribute::Id(id) => description.id = id,
            other => description.attributes.push(other),
        }
    }
    Ok(description)
}

impl Description {
    /// What is wrong with a key of this ring. An attribute that the token does not tell counts as wrong where it is
    /// one that must be set.
    pub(super) fn defects(&self, algorithm: RingAlgorithm) -> Vec<&'static str> {
        let has = |attribute: Attribute| self.attributes.contains(&attribute);
        let usage = Usage::of(algorithm);
        let (sign, decrypt, derive, seal) = (
            matches!(usage, Usage::Sign | Usage::Mac),
            matches!(usage, Usage::Decrypt | Usage::Seal),
            usage == Usage::Derive,
            usage == Usage::Seal,
        );
        let is_single = has(Attribute::Sign(true)) == sign
            && has(Attribute::Decrypt(true)) == decrypt
            && has(Attribute::Derive(true)) == derive
            && has(Attribute::Encrypt(true)) == seal
            && !has(Attribute::SignRecover(true))
            && !has(Attribute::Unwrap(true))
            && !has(Attribute::Wrap(true));
        [
            (
                has(Attribute::KeyType(Material::of(algorithm).key_type())),
                weakness::KEY_TYPE,
            ),
            (has(Attribute::Local(true)), weakness::NOT_LOCAL),
            (has(Attribute::Sensitive(true)), weakness::NOT_SENSITIVE),
            (
                has(Attribute::AlwaysSensitive(true)),
                weakness::NOT_ALWAYS_SENSITIVE,
            ),
            (has(Attribute::Extractable(false)), weakness::EXTRACTABLE),
            (
                has(Attribute::NeverExtractable(true)),
                weakness::WAS_EXTRACTABLE,
            ),
            (is_single, weakness::USAGE),
        ]
        .into_iter()
        .filter_map(|(is_right, defect)| (!is_right).then_some(defect))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn description(attributes: Vec<Attribute>) -> Description {
        Description {
            label: Vec::new(),
            id: Vec::new(),
            attributes,
        }
    }

    #[test]
    fn one_wrong_attribute_is_a_defect() {
        let ring = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
        let right = vec![
            Attribute::KeyType(KeyType::EC),
            Attribute::Local(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Derive(false),
            Attribute::Unwrap(false),
            Attribute::SignRecover(false),
        ];
        assert_eq!(description(right.clone()).defects(ring), [""; 0]);
        for wrong in [
            Attribute::KeyType(KeyType::RSA),
            Attribute::Local(false),
            Attribute::Sensitive(false),
            Attribute::AlwaysSensitive(false),
            Attribute::Extractable(true),
            Attribute::NeverExtractable(false),
            Attribute::Sign(false),
            Attribute::Decrypt(true),
            Attribute::Derive(true),
            Attribute::Unwrap(true),
            Attribute::SignRecover(true),
        ] {
            let mut attributes = right.clone();
            for attribute in &mut attributes {
                if attribute.attribute_type() == wrong.attribute_type() {
                    *attribute = wrong.clone();
                }
            }
            assert_eq!(description(attributes).defects(ring).len(), 1, "{wrong:?}");
        }
        let missing = right[1..].to_vec();
        assert_eq!(description(missing).defects(ring), ["of another key type"]);
    }

    #[test]
    fn points_are_read_raw_and_as_der() {
        let raw: Vec<u8> = (0..32).collect();
        let der = [&[0x04, 0x20], raw.as_slice()].concat();
        assert_eq!(unwrapped(&raw, 32), raw);
        assert_eq!(unwrapped(&der, 32), raw);
        assert_eq!(minimal(vec![0, 0, 1, 0]), [1, 0]);
        assert!(ec_point(Curve::P256, &[4; 65]).is_none());
    }
}
