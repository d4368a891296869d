//! Everything of ours in a token, in one pass over its objects: a search for each key would take a time that grows
//! with the square of their number.

use std::collections::{HashMap, HashSet};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::{Class, Failure, class};
use super::object::{self, Description};
use super::trial;
use crate::backend::record::{IMPORTED_PREFIX, LABEL_PREFIX, TOMBSTONE_PREFIX};
use crate::backend::{Imported, KeyId, Label, Listing, PublicKey, StoredKey, Tombstone};

/// Keys whose public half was seen to be theirs, so that each is tried once.
pub(super) type Proven = HashSet<(KeyId, String)>;

/// Reads the token.
pub(super) fn read(session: &Session, proven: &mut Proven) -> Result<Listing, Failure> {
    let mut listing = Listing::default();
    let publics = public_keys(session)?;
    let mut ours = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        let template = [Attribute::Class(class), Attribute::Token(true)];
        for object in session.find_objects(&template)? {
            let description = object::describe(session, object)?;
            if !description.label.starts_with(LABEL_PREFIX.as_bytes()) {
                continue;
            }
            match trial::label_of(&description.label) {
                Some(label) if object::class_of(label.ring.algorithm()) == class => {
                    ours.push((object, label, description));
                }
                _ => listing.strange.push(printable(&description.label)),
            }
        }
    }
    let mut times: HashMap<Vec<u8>, usize> = HashMap::new();
    for (_, _, description) in &ours {
        *times.entry(description.id.clone()).or_default() += 1;
    }
    for (object, label, description) in ours {
        let mut key = key(session, &label, &description, &publics)?;
        if times.get(&description.id) != Some(&1) {
            key.defects.push("its id is also another key's");
        }
        if key.defects.is_empty() && !is_proven(session, object, &key, proven)? {
            key.defects.push("its public key is not its own");
        }
        listing.keys.push(key);
    }
    records(session, &mut listing)?;
    Ok(listing)
}

fn public_keys(session: &Session) -> Result<HashMap<Vec<u8>, Vec<ObjectHandle>>, Failure> {
    let mut publics: HashMap<Vec<u8>, Vec<ObjectHandle>> = HashMap::new();
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Token(true),
    ];
    for object in session.find_objects(&template)? {
        if let [Attribute::Id(id)] = session
            .get_attributes(object, &[AttributeType::Id])?
            .as_slice()
        {
            publics.entry(id.clone()).or_default().push(object);
        }
    }
    Ok(publics)
}

fn key(
    session: &Session,
    label: &Label,
    description: &Description,
    publics: &HashMap<Vec<u8>, Vec<ObjectHandle>>,
) -> Result<StoredKey, Failure> {
    let algorithm = label.ring.algorithm();
    let mut defects = description.defects(algorithm);
    let public = match (object::class_of(algorithm), publics.get(&description.id)) {
        (ObjectClass::SECRET_KEY, _) => None,
        // Which of several is the right one cannot be known before a signature: none is published.
        (_, Some(objects)) if objects.len() == 1 => {
            object::read_public(session, algorithm, objects[0])?
        }
        _ => None,
    };
    if public.is_none() && object::class_of(algorithm) != ObjectClass::SECRET_KEY {
        defects.push("without one public key of its own");
    }
    Ok(StoredKey {
        id: KeyId(description.id.clone().into()),
        label: label.clone(),
        public,
        defects,
    })
}

fn is_proven(
    session: &Session,
    object: ObjectHandle,
    key: &StoredKey,
    proven: &mut Proven,
) -> Result<bool, Failure> {
    let name = (key.id.clone(), fingerprint(key.public.as_ref()));
    if proven.contains(&name) {
        return Ok(true);
    }
    match trial::prove(
        session,
        object,
        key.label.ring.algorithm(),
        key.public.as_ref(),
    ) {
        Ok(()) => {
            proven.insert(name);
            Ok(true)
        }
        Err(Failure::Module(error)) if class(&error) != Class::Refused => Err(error.into()),
        Err(_) => Ok(false),
    }
}

fn fingerprint(public: Option<&PublicKey>) -> String {
    public.map(crate::jwk::thumbprint).unwrap_or_default()
}

/// Tombstones, and others' public keys. Private objects alone: who has no PIN can make public ones in many tokens.
fn records(session: &Session, listing: &mut Listing) -> Result<(), Failure> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(object::APPLICATION.to_vec()),
    ];
    for object in session.find_objects(&template)? {
        let attributes =
            session.get_attributes(object, &[AttributeType::Label, AttributeType::Value])?;
        let [Attribute::Label(label), Attribute::Value(value)] = attributes.as_slice() else {
            continue;
        };
        let is = |prefix: &str| label.starts_with(prefix.as_bytes());
        match (Tombstone::from_json(value), Imported::from_json(value)) {
            (Ok(tombstone), _) if is(TOMBSTONE_PREFIX) => listing.tombstones.push(tombstone),
            (_, Ok(imported)) if is(IMPORTED_PREFIX) => listing.imported.push(imported),
            _ => listing.strange.push(printable(label)),
        }
    }
    Ok(())
}

/// A label for the log: whoever can write objects chose it.
fn printable(label: &[u8]) -> String {
    label
        .iter()
        .take(128)
        .map(|octet| char::from(*octet).escape_default().to_string())
        .collect()
}
