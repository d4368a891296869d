//! The names of stored values: what kinds there are, and how a token leads to its value.
//!
//! A name holds a kind, and then only hashes and random tags: never a secret, never a client's input. A hash covers
//! its kind and the length of each part, so that one-time objects of different kinds can never stand in for each
//! other. What belongs to one grant carries its tag in braces and so stays in one Redis Cluster slot.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Key;
use crate::random::Random;
use crate::secret::Secret;

/// Characters of a tag: 128 bits in base64url.
const TAG: usize = 22;
/// Characters of a secret: 256 bits in base64url.
const SECRET: usize = 43;

/// base64url(SHA-256) of a label and parts, each with its length: other parts never give the same input.
pub fn hash_of(label: &str, parts: &[&str]) -> String {
    let mut sha256 = Sha256::new();
    for part in std::iter::once(&label).chain(parts) {
        sha256.update((part.len() as u64).to_be_bytes());
        sha256.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(sha256.finalize())
}

/// The clear random name of a grant: whatever comes from one sign-in bears the same tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// A new tag.
    pub fn random(random: &Random) -> Tag {
        Tag(random.token128())
    }

    /// Reads a tag: 16 octets in canonical base64url.
    pub fn parse(text: &str) -> Option<Tag> {
        is_canonical::<TAG, 16>(text).then(|| Tag(text.to_owned()))
    }

    /// The tag of what is issued beside a code, and ends with what comes of that.
    pub fn beside(&self) -> Tag {
        let hash = Sha256::digest(format!("beside {}", self.0));
        Tag(URL_SAFE_NO_PAD.encode(&hash[..16]))
    }

    /// The tag's 22 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A code or an opaque token: `<tag>.<secret>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedToken {
    /// Whose family it belongs to.
    pub tag: Tag,
    /// What makes it a credential: 256 bits in 43 characters of base64url.
    pub secret: Secret<String>,
}

impl TaggedToken {
    /// A new token of a new family.
    pub fn random(random: &Random) -> TaggedToken {
        TaggedToken::of(Tag::random(random), random)
    }

    /// A new token of a family.
    pub fn of(tag: Tag, random: &Random) -> TaggedToken {
        TaggedToken {
            tag,
            secret: Secret::new(random.token256()),
        }
    }

    /// Reads a token as it is on the wire. There is one spelling of each token, and nothing else is one.
    pub fn parse(text: &str) -> Option<TaggedToken> {
        let (tag, secret) = text.split_once('.')?;
        let tag = Tag::parse(tag)?;
        is_canonical::<SECRET, 32>(secret).then(|| TaggedToken {
            tag,
            secret: Secret::new(secret.to_owned()),
        })
    }

    /// The token as it is on the wire.
    pub fn as_string(&self) -> String {
        format!("{}.{}", self.tag.0, self.secret.expose())
    }

    /// A hash of the whole token and of what it is used as.
    pub fn hash(&self, kind: &str) -> String {
        hash_of(kind, &[&self.tag.0, self.secret.expose()])
    }
}

// `URL_SAFE_NO_PAD` refuses padding, white space and trailing bits that are not zero, so there is one spelling.
fn is_canonical<const CHARACTERS: usize, const OCTETS: usize>(text: &str) -> bool {
    let mut octets = [0; OCTETS];
    text.len() == CHARACTERS && URL_SAFE_NO_PAD.decode_slice(text, &mut octets) == Ok(OCTETS)
}

impl Key {
    /// How the names of registered clients begin: of all kinds, the one whose values hold something sealed.
    pub(crate) const CLIENTS: &str = "k:";

    /// A code that nobody has used yet.
    pub fn code(tag: &Tag) -> Key {
        Key(format!("o:{{{tag}}}"))
    }

    /// A grant, once its code is used: one value for its whole family.
    pub fn grant(tag: &Tag) -> Key {
        Key(format!("g:{{{tag}}}"))
    }

    /// An opaque access token that a refresh gave, by its hash.
    pub fn access_token(tag: &Tag, hash: &str) -> Key {
        Key(format!("a:{{{tag}}}:{hash}"))
    }

    /// A browser's session, by its cookie's value.
    pub fn session(cookie: &str) -> Key {
        Key(format!("s:{}", hash_of("session", &[cookie])))
    }

    /// That a session was ended, by its public name: what must end with it asks here.
    pub fn session_ended(sid: &str) -> Key {
        Key(format!("e:{}", hash_of("session_ended", &[sid])))
    }

    /// A login or consent in progress.
    pub fn interaction(id: &str) -> Key {
        Key(format!("i:{}", hash_of("interaction", &[id])))
    }

    /// Things to be done, of one kind.
    pub fn queue(kind: &'static str) -> Key {
        Key(format!("q:{kind}"))
    }

    /// What a user allowed a client.
    pub fn consent(subject: &str, client_id: &str) -> Key {
        Key(format!("c:{}", hash_of("consent", &[subject, client_id])))
    }

    /// A client that registered itself.
    pub fn client(client_id: &str) -> Key {
        Key(format!("k:{}", hash_of("client", &[client_id])))
    }

    /// That an initial access token was used, by its hash.
    pub fn initial_access_token(hash: &str) -> Key {
        Key(format!("t:{}", hash_of("initial_access_token", &[hash])))
    }

    /// The `jti` of a client's assertion (RFC 7523 §3).
    pub fn assertion(client_id: &str, jti: &str) -> Key {
        Key(format!("j:{}", hash_of("assertion", &[client_id, jti])))
    }

    /// That a JWT access token was revoked, by its `jti`.
    pub fn revoked(tag: &Tag, jti: &str) -> Key {
        Key(format!("x:{{{tag}}}:{}", hash_of("revoked", &[jti])))
    }

    /// The name, for the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_like_it_is() {
        let random = Random::new().unwrap();
        let token = TaggedToken::random(&random);
        let wire = token.as_string();
        assert_eq!(wire.len(), 66);
        assert_eq!(TaggedToken::parse(&wire), Some(token));
        for (what, text) in [
            ("empty", String::new()),
            ("no secret", wire[..22].to_owned()),
            ("empty secret", wire[..23].to_owned()),
            ("truncated", wire[..65].to_owned()),
            ("extended", format!("{wire}A")),
            ("three parts", format!("{wire}.A")),
            ("padding", format!("{}=", &wire[..65])),
            ("space", format!(" {}", &wire[1..])),
            ("other alphabet", format!("+{}", &wire[1..])),
            (
                "trailing bits of the tag",
                format!("{}B.{}", &wire[..21], &wire[23..]),
            ),
            ("trailing bits of the secret", format!("{}B", &wire[..65])),
            ("brace", format!("}}{}", &wire[1..])),
            ("not ASCII", format!("é{}", &wire[2..])),
        ] {
            assert_eq!(TaggedToken::parse(&text), None, "{what}");
        }
    }

    #[test]
    fn a_tag_has_one_beside_it() {
        let tag = Tag::random(&Random::new().unwrap());
        assert_eq!(tag.beside(), tag.beside());
        assert_ne!(tag.beside(), tag);
        assert_eq!(Tag::parse(tag.beside().as_str()), Some(tag.beside()));
    }

    #[test]
    fn names_do_not_collide() {
        let random = Random::new().unwrap();
        let tag = Tag::random(&random);
        let keys = [
            Key::grant(&tag),
            Key::code(&tag),
            Key::revoked(&tag, "x"),
            Key::session("x"),
            Key::session_ended("x"),
            Key::interaction("x"),
            Key::consent("x", "yz"),
            Key::consent("xy", "z"),
            Key::assertion("x", "yz"),
            Key::assertion("xy", "z"),
        ];
        let names: std::collections::HashSet<&str> = keys.iter().map(Key::as_str).collect();
        assert_eq!(names.len(), keys.len());
        // Without their kinds, too.
        let hashes: std::collections::HashSet<&str> = keys[2..]
            .iter()
            .map(|key| key.as_str().rsplit(':').next().unwrap())
            .collect();
        assert_eq!(hashes.len(), keys.len() - 2);
        assert!(keys[2].as_str().contains(&format!("{{{tag}}}")));
    }
}
