//! Sign (RFC 7515, RFC 7519 §5.2): claims become compact JWSs, under rings of ours and secrets that others share with
//! us, and nested JWEs where their recipient wants that.

use std::collections::HashMap;
use std::time::Instant;

use proto::v1::{self, sign_item};

use crate::audit::{Entry, Item, Signature};
use crate::error::Error;
use crate::jwe::{self, Recipient};
use crate::keyring::claims::Claims;
use crate::keyring::policy::{Permit, Profile, Rule, Sign, Wanted};
use crate::keyring::{Ring, Signed, Snapshot};
use crate::signature::MacKey;

use super::keys::Keys;
use super::mac::mac_algorithm;
use super::once::{self, Answer, Made, Reservation, Turn};

/// The most items of one request.
const ITEMS: usize = 16;
/// The most hashes that one item gets: at_hash, c_hash, s_hash and one to spare.
const HASHES: usize = 4;
/// "cty" of what is signed and then encrypted (RFC 7519 §5.2).
const NESTED: &str = "JWT";

enum SignsWith<'a> {
    Ring(&'a Ring),
    Secret(MacKey),
}

/// What is there of a request's items, by their indices.
type ByIndex<T> = Vec<Option<T>>;

impl Keys {
    /// Secrets are opened and recipients read, then every item is permitted, before the first one is signed; then those
    /// whose hash others need. What was signed for its `once_key` before is answered again, and asks for nothing; what is
    /// signed for one now is told too, to be remembered when it leaves.
    pub(super) async fn sign_items(
        &self,
        items: &[v1::SignItem],
        deadline: Option<Instant>,
        entry: &mut Entry,
    ) -> Result<(v1::SignResponse, Vec<Answer>), Error> {
        if items.is_empty() || items.len() > ITEMS {
            return Err(Error::Malformed("from 1 to 16 items are signed at a time"));
        }
        let (mut reservations, mut made) = self.turns(items)?;
        let (mut secrets, mut recipients) = self.foreign_keys(items, &made, deadline).await?;
        let (mut permits, epoch) = {
            let snapshot = self.shared.keyring.snapshot();
            let permits: Result<ByIndex<_>, Error> = items
                .iter()
                .enumerate()
                .map(|(index, item)| match &made[index] {
                    Some(_) => Ok(None),
                    None => {
                        let secret = secrets.remove(&index);
                        self.permit(&snapshot, items, item, secret).map(Some)
                    }
                })
                .collect();
            (permits?, snapshot.published().epoch.clone())
        };
        let mut answers = Vec::new();
        for index in in_order(items) {
            let item = &items[index];
            if let Some(made) = &made[index] {
                again(entry, index, item, made)?;
                continue;
            }
            let Some(mut permit) = permits[index].take() else {
                continue;
            };
            for hash_of in &item.hash_of {
                let of = made.get(hash_of.item as usize).and_then(Option::as_ref);
                let of = of.ok_or(Error::Malformed("hash_of.item has a hash_of of its own"))?;
                permit.add_hash(&hash_of.claim, &of.jws.compact);
            }
            entry.signs(&Item {
                index,
                profile: profile(item.profile())?.as_str(),
                typ: permit.typ().as_str(),
                jti: permit.claim("jti"),
                exp: permit.claim("exp"),
            });
            let jws = self.shared.keyring.sign(permit, deadline).await?;
            entry.signed(&signature(item, &jws));
            let jwe = match recipients.remove(&index) {
                Some(recipient) => Some(jwe::encrypt(&recipient, jws.compact.as_bytes())?),
                None => None,
            };
            let signed = Made { jws, jwe };
            if let Some(reservation) = reservations.get_mut(index).and_then(Option::take)
                && let Some(fingerprint) = once::fingerprint(item, by_index(&made))
            {
                answers.push(reservation.answer(fingerprint, signed.clone()));
            }
            made[index] = Some(signed);
            if let Some(sign_item::Key::Ring(ring)) = &item.key {
                self.shared.metrics.signed(ring);
            }
        }
        let items = made.into_iter().flatten().map(Made::into_message);
        let response = v1::SignResponse {
            items: items.collect(),
            epoch,
        };
        Ok((response, answers))
    }

    /// For items with a `once_key`: those that are to be signed now, and those that were.
    fn turns(
        &self,
        items: &[v1::SignItem],
    ) -> Result<(ByIndex<Reservation>, ByIndex<Made>), Error> {
        let mut made: ByIndex<Made> = items.iter().map(|_| None).collect();
        let mut names = once::names(items, self.caller.number())?;
        if names.is_empty() {
            return Ok((Vec::new(), made));
        }
        let mut reservations: ByIndex<Reservation> = items.iter().map(|_| None).collect();
        let now = self.shared.keyring.clock().now();
        for index in in_order(items) {
            let Some(name) = names[index].take() else {
                continue;
            };
            let asked = || once::fingerprint(&items[index], by_index(&made));
            match self.shared.once.ask(name, now, asked)? {
                Turn::First(reservation) => reservations[index] = Some(reservation),
                // Nobody believes it any more, and there is no second answer.
                Turn::Again(known) if self.shared.keyring.is_withdrawn(known.jws.kid()) => {
                    return Err(Rule::Once.into());
                }
                Turn::Again(known) => made[index] = Some(Made::clone(&known)),
            }
        }
        Ok((reservations, made))
    }

    /// By the items' indices: the shared secrets that sign, and those to whom the signed is encrypted.
    async fn foreign_keys(
        &self,
        items: &[v1::SignItem],
        made: &ByIndex<Made>,
        deadline: Option<Instant>,
    ) -> Result<(HashMap<usize, MacKey>, HashMap<usize, Recipient>), Error> {
        let (mut secrets, mut recipients) = (HashMap::new(), HashMap::new());
        for (index, item) in items.iter().enumerate() {
            if made[index].is_some() {
                continue;
            }
            if let Some(sign_item::Key::WrappedSecret(secret)) = &item.key {
                let algorithm = mac_algorithm(secret)?;
                secrets.insert(index, self.mac_key(secret, algorithm, deadline).await?);
            }
            if let Some(to) = &item.encrypt_to {
                if !["", NESTED].contains(&to.cty.as_str()) {
                    return Err(Error::Malformed("encrypt_to.cty is not JWT"));
                }
                let recipient = self.recipient(to, deadline).await?;
                // RFC 7519 §5.2: "cty" says that a JWT is nested.
                recipients.insert(index, recipient.with_content_type(NESTED));
            }
        }
        Ok((secrets, recipients))
    }

    fn permit(
        &self,
        snapshot: &Snapshot,
        items: &[v1::SignItem],
        item: &v1::SignItem,
        secret: Option<MacKey>,
    ) -> Result<Permit<Sign>, Error> {
        let key = match (&item.key, secret) {
            (Some(sign_item::Key::Ring(ring)), _) => SignsWith::Ring(self.ring(snapshot, ring)?),
            (_, Some(secret)) => SignsWith::Secret(secret),
            _ => return Err(Error::Malformed("key is missing")),
        };
        if item.hash_of.len() > HASHES {
            return Err(Error::Malformed("an item has at most 4 hash_of"));
        }
        for hash_of in &item.hash_of {
            let of = items.get(hash_of.item as usize);
            // Its recipient hashes what it gets, and the hash of a JWE is nobody's (OpenID Connect Core §3.1.3.6).
            if !of.is_some_and(|of| of.hash_of.is_empty() && of.encrypt_to.is_none()) {
                return Err(Error::Malformed(
                    "hash_of.item is not an item without a hash_of and without encrypt_to",
                ));
            }
        }
        let restrictions = match &item.key {
            Some(sign_item::Key::Ring(ring)) => self.caller.restrictions(ring),
            Some(sign_item::Key::WrappedSecret(secret)) => {
                self.caller.restrictions_of_secrets(&secret.alg)
            }
            None => &[],
        };
        let mut hashes = [""; HASHES];
        for (claim, hash_of) in hashes.iter_mut().zip(&item.hash_of) {
            *claim = &hash_of.claim;
        }
        let wanted = Wanted {
            profile: profile(item.profile())?,
            claims: Claims::parse(&item.claims)?,
            hashes: &hashes[..item.hash_of.len()],
            restrictions,
        };
        let keyring = &self.shared.keyring;
        match key {
            SignsWith::Ring(ring) => keyring.permit(ring, wanted),
            SignsWith::Secret(secret) => keyring.permit_secret(secret, wanted),
        }
    }
}

/// The indices of the items: those whose hash others need before the others.
fn in_order(items: &[v1::SignItem]) -> impl Iterator<Item = usize> {
    [true, false].into_iter().flat_map(move |first| {
        let is_due = move |index: &usize| items[*index].hash_of.is_empty() == first;
        (0..items.len()).filter(is_due)
    })
}

fn by_index<'a>(made: &'a [Option<Made>]) -> impl Fn(u32) -> Option<&'a Made> {
    |index| made.get(index as usize)?.as_ref()
}

/// An answer that was given before is given again, and the audit log tells so.
fn again(entry: &mut Entry, index: usize, item: &v1::SignItem, made: &Made) -> Result<(), Error> {
    let profile = profile(item.profile())?;
    // It was signed once, so it is good claims.
    let claims = Claims::parse(&item.claims)?;
    entry.signs(&Item {
        index,
        profile: profile.as_str(),
        typ: profile.typ().as_str(),
        jti: claims.value("jti"),
        exp: claims.value("exp"),
    });
    entry.text("again", "once_key");
    entry.signed(&signature(item, &made.jws));
    Ok(())
}

/// What the audit log says of a signature.
fn signature<'a>(item: &'a v1::SignItem, jws: &'a Signed) -> Signature<'a> {
    let (ring, alg) = match &item.key {
        Some(sign_item::Key::Ring(ring)) => {
            let alg = ring.split_once('/').map_or("", |(_, alg)| alg);
            (Some(ring.as_str()), alg)
        }
        Some(sign_item::Key::WrappedSecret(secret)) => (None, secret.alg.as_str()),
        None => (None, ""),
    };
    Signature {
        ring,
        kid: jws.kid(),
        alg,
        compact: &jws.compact,
    }
}

fn profile(profile: v1::Profile) -> Result<Profile, Error> {
    Ok(match profile {
        v1::Profile::Unspecified => return Err(Error::Malformed("profile is missing or unknown")),
        v1::Profile::IdToken => Profile::IdToken,
        v1::Profile::AccessToken => Profile::AccessToken,
        v1::Profile::LogoutToken => Profile::LogoutToken,
        v1::Profile::Userinfo => Profile::Userinfo,
        v1::Profile::Introspection => Profile::Introspection,
        v1::Profile::AuthorizationResponse => Profile::AuthorizationResponse,
        v1::Profile::Metadata => Profile::Metadata,
        v1::Profile::ClientAssertion => Profile::ClientAssertion,
    })
}
