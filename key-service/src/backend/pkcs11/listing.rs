//! Everything of ours in a token, in one pass over its objects: a search for each key would take a time that grows
//! with the square of their number.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::{Class, Failure, class};
use super::object::{self, Description, Handles};
use super::queue::QUICK;
use super::strangers::Strangers;
use super::trial;
use crate::backend::record::{IMPORTED_PREFIX, LABEL_PREFIX, TOMBSTONE_PREFIX};
use crate::backend::{Imported, KeyId, Label, Listing, PublicKey, StoredKey, Tombstone};

/// Keys whose public half was seen to be theirs, so that each is tried once.
pub(super) type Proven = HashSet<(KeyId, String)>;

/// The longest pause after a look.
const PAUSE: Duration = Duration::from_millis(1);

/// What earlier listings of a session have seen that is not ours.
#[derive(Default)]
pub(super) struct Others {
    private: Strangers<()>,
    secret: Strangers<()>,
    /// With a hash of their CKA_ID, which may be long: one of ours may come to have it.
    public: Strangers<u64>,
    hash: RandomState,
}

impl Others {
    /// Whatever had these numbers before: they are a new key's of ours.
    pub(super) fn forget(&mut self, (public, private): Handles) {
        self.private.forget(private);
        self.secret.forget(private);
        if let Some(public) = public {
            self.public.forget(public);
        }
    }
}

/// Our private or secret keys, each with its label and what else it says about itself.
type Ours = Vec<(ObjectHandle, Label, Description)>;

/// Reads the token.
pub(super) fn read(
    session: &Session,
    others: &mut Others,
    proven: &mut Proven,
) -> Result<Listing, Failure> {
    let mut listing = Listing::default();
    let mut ours = Vec::new();
    for (class, strangers) in [
        (ObjectClass::PRIVATE_KEY, &mut others.private),
        (ObjectClass::SECRET_KEY, &mut others.secret),
    ] {
        keys(session, class, strangers, &mut ours, &mut listing.strange)?;
    }
    let publics = publics(session, others, &ours)?;
    let mut times: HashMap<Vec<u8>, usize> = HashMap::new();
    for (_, _, description) in &ours {
        *times.entry(description.id.clone()).or_default() += 1;
    }
    for (object, label, description) in ours {
        let mut key = look(|| key(session, object, &label, &description, &publics))?;
        if times.get(&description.id) != Some(&1) {
            key.defects.push("its id is also another key's");
        }
        if key.defects.is_empty() && !look(|| is_proven(session, object, &key, proven))? {
            key.defects.push("its public key is not its own");
        }
        listing.keys.push(key);
    }
    records(session, &mut listing)?;
    Ok(listing)
}

/// Looks at one object, or for some. Where one lock of the module's lets one call in at a time, who takes it again at
/// once keeps all others out until the listing ends: so a long look gives way.
fn look<T, E: Into<Failure>>(look: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
    let start = Instant::now();
    let seen = look().map_err(E::into)?;
    let took = start.elapsed();
    if took > QUICK {
        thread::sleep(took.min(PAUSE));
    }
    Ok(seen)
}

fn find(session: &Session, class: ObjectClass) -> Result<Vec<ObjectHandle>, Failure> {
    let template = [Attribute::Class(class), Attribute::Token(true)];
    look(|| session.find_objects(&template))
}

fn keys(
    session: &Session,
    class: ObjectClass,
    strangers: &mut Strangers<()>,
    ours: &mut Ours,
    strange: &mut Vec<String>,
) -> Result<(), Failure> {
    let found = find(session, class)?;
    strangers.begin(&found);
    for object in found {
        if strangers.known(object).is_some() {
            continue;
        }
        let description = look(|| object::describe(session, object))?;
        if !description.label.starts_with(LABEL_PREFIX.as_bytes()) {
            strangers.remember(object, ());
            continue;
        }
        match trial::label_of(&description.label) {
            Some(label) if object::class_of(label.ring.algorithm()) == class => {
                ours.push((object, label, description));
            }
            _ => strange.push(printable(&description.label)),
        }
    }
    Ok(())
}

/// The public keys with ids of ours, by id.
fn publics(
    session: &Session,
    others: &mut Others,
    ours: &Ours,
) -> Result<HashMap<Vec<u8>, Vec<ObjectHandle>>, Failure> {
    let Others { public, hash, .. } = others;
    let mut publics: HashMap<Vec<u8>, Vec<ObjectHandle>> = ours
        .iter()
        .map(|(_, _, description)| (description.id.clone(), Vec::new()))
        .collect();
    let hashes: HashSet<u64> = publics.keys().map(|id| hash.hash_one(id)).collect();
    let found = find(session, ObjectClass::PUBLIC_KEY)?;
    public.begin(&found);
    for object in found {
        if public.known(object).is_some_and(|id| !hashes.contains(id)) {
            continue;
        }
        let read = look(|| session.get_attributes(object, &[AttributeType::Id]))?;
        let id = match read.as_slice() {
            [Attribute::Id(id)] => id.clone(),
            _ => Vec::new(),
        };
        match publics.get_mut(&id) {
            Some(objects) => objects.push(object),
            None => public.remember(object, hash.hash_one(&id)),
        }
    }
    Ok(publics)
}

fn key(
    session: &Session,
    object: ObjectHandle,
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
        // Another process may have destroyed both halves meanwhile: then this one is not there either.
        object::describe(session, object)?;
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
    let wanted = [AttributeType::Label, AttributeType::Value];
    for object in look(|| session.find_objects(&template))? {
        let attributes = look(|| session.get_attributes(object, &wanted))?;
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
