//! One operation as a record tells it: written straight into a buffer, for it is on the way of every signature. Typed
//! fields and hashes only; never a payload, a token, or what a caller sent and nobody has checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::tree;
use crate::backend::Imported;

/// The longest `jti`, as JSON, that is written as it is.
const LONGEST_ID: usize = 130;
/// The longest text of an operator, in octets.
const LONGEST_TEXT: usize = 1024;

/// The members of a record while its operation goes on. Without an audit log it writes nothing.
#[derive(Debug)]
pub(crate) struct Entry {
    json: Vec<u8>,
    is_on: bool,
    items: Items,
}

#[derive(Debug, PartialEq, Eq)]
enum Items {
    None,
    Between,
    Inside,
}

/// What is signed, before it is.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) index: usize,
    pub(crate) profile: &'static str,
    pub(crate) typ: &'static str,
    /// Compact JSON, as claims have it.
    pub(crate) jti: Option<&'a [u8]>,
    /// Compact JSON, as claims have it.
    pub(crate) exp: Option<&'a [u8]>,
}

/// By what it was signed. A shared secret has neither ring nor kid.
#[derive(Debug)]
pub(crate) struct Signature<'a> {
    pub(crate) ring: Option<&'a str>,
    pub(crate) kid: &'a str,
    pub(crate) alg: &'a str,
    pub(crate) compact: &'a str,
}

/// What became of something sealed that was to be re-wrapped.
#[derive(Debug)]
pub(crate) struct Resealed<'a> {
    pub(crate) index: usize,
    pub(crate) context: &'a str,
    /// The key that had sealed it, and the one that does now; empty where it did not open.
    pub(crate) from: &'a str,
    pub(crate) kid: &'a str,
    pub(crate) sealed: &'a str,
    /// Empty where it opened.
    pub(crate) finding: &'a str,
}

impl Entry {
    /// One that is never written.
    pub(crate) fn off() -> Entry {
        Entry {
            json: Vec::new(),
            is_on: false,
            items: Items::None,
        }
    }

    /// One of the log itself.
    pub(super) fn event(time: i64, event: &str) -> Entry {
        let mut entry = Entry::at(time);
        entry.text("event", event);
        entry
    }

    /// One of an operation. `request` is a plain word, or empty.
    pub(crate) fn begin(time: i64, rpc: &str, caller: &str, request: &str) -> Entry {
        let mut entry = Entry::at(time);
        entry.text("rpc", rpc);
        entry.text("caller", caller);
        if !request.is_empty() {
            entry.text("request", request);
        }
        entry
    }

    fn at(time: i64) -> Entry {
        let mut entry = Entry {
            json: Vec::with_capacity(512),
            is_on: true,
            items: Items::None,
        };
        entry.number("time", time);
        entry
    }

    /// A member. Nothing where it is empty.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if !self.is_on || value.is_empty() || value.len() > LONGEST_TEXT {
            return;
        }
        self.name(name);
        if value.bytes().all(is_plain) {
            self.json.push(b'"');
            self.json.extend_from_slice(value.as_bytes());
            self.json.push(b'"');
        } else {
            // Writing to memory cannot fail, and a string always has a JSON form.
            let _ = serde_json::to_writer(&mut self.json, value);
        }
    }

    /// An administrator's call and what it is about; an empty text is none.
    pub(crate) fn administers(&mut self, method: &str, ring: &str, kid: &str, reason: &str) {
        self.text("method", method);
        self.text("ring", ring_or_nothing(ring));
        self.text("kid", kid_or_nothing(kid));
        self.text("reason", reason);
    }

    /// What was sealed and is sealed again, or does not open.
    pub(crate) fn resealed(&mut self, item: &Resealed<'_>) {
        if !self.is_on {
            return;
        }
        self.begin_item(item.index);
        self.hash("context_sha256", item.context.as_bytes());
        self.text("from", item.from);
        self.text("kid", item.kid);
        if item.finding.is_empty() {
            self.hash("sha256", item.sealed.as_bytes());
        }
        self.text("finding", item.finding);
        self.json.push(b'}');
        self.items = Items::Between;
    }

    fn begin_item(&mut self, index: usize) {
        match self.items {
            Items::None => {
                self.name("items");
                self.json.push(b'[');
            }
            Items::Between => self.json.push(b','),
            Items::Inside => self.json.extend_from_slice(b"},"),
        }
        self.items = Items::Inside;
        self.json.push(b'{');
        self.number("item", index);
    }

    /// What is about to be signed.
    pub(crate) fn signs(&mut self, item: &Item<'_>) {
        if !self.is_on {
            return;
        }
        self.begin_item(item.index);
        self.text("profile", item.profile);
        self.text("typ", item.typ);
        if let Some(jti) = item.jti {
            if jti.len() <= LONGEST_ID {
                self.name("jti");
                self.json.extend_from_slice(jti);
            } else {
                self.hash("jti_sha256", jti);
            }
        }
        if let Some(exp) = item.exp {
            self.name("exp");
            self.json.extend_from_slice(exp);
        }
    }

    /// That it was.
    pub(crate) fn signed(&mut self, signature: &Signature<'_>) {
        if !self.is_on {
            return;
        }
        self.text("ring", signature.ring.unwrap_or_default());
        self.text("kid", signature.kid);
        self.text("alg", signature.alg);
        self.hash("sha256", signature.compact.as_bytes());
        self.json.push(b'}');
        self.items = Items::Between;
    }

    /// The members with how it ended; `None` where no log is kept.
    pub(crate) fn end(mut self, status: &str, rule: &str) -> Option<Vec<u8>> {
        self.close_items();
        self.text("status", status);
        self.text("rule", rule);
        self.is_on.then_some(self.json)
    }

    /// A member that is a list of words.
    pub(super) fn words(&mut self, name: &str, words: &[String]) {
        self.name(name);
        // Writing to memory cannot fail, and strings always have a JSON form.
        let _ = serde_json::to_writer(&mut self.json, words);
    }

    pub(super) fn members(self) -> Vec<u8> {
        self.json
    }

    fn close_items(&mut self) {
        match self.items {
            Items::None => {}
            Items::Between => self.json.push(b']'),
            // Not signed after all.
            Items::Inside => self.json.extend_from_slice(b"}]"),
        }
        self.items = Items::None;
    }

    fn hash(&mut self, name: &str, of: &[u8]) {
        self.name(name);
        let mut text = [0; 43];
        let hash = tree::hash(&[of]);
        let length = URL_SAFE_NO_PAD.encode_slice(hash, &mut text).unwrap_or(0);
        self.json.push(b'"');
        self.json.extend_from_slice(&text[..length]);
        self.json.push(b'"');
    }

    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        use std::io::Write as _;
        self.name(name);
        // Writing to memory cannot fail.
        let _ = write!(self.json, "{value}");
    }

    fn name(&mut self, name: &str) {
        if !matches!(self.json.last(), None | Some(b'{')) {
            self.json.push(b',');
        }
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
    }
}

/// Whether JSON leaves the octet as it is.
fn is_plain(octet: u8) -> bool {
    (octet.is_ascii_graphic() || octet == b' ') && !matches!(octet, b'"' | b'\\')
}

/// Of a ring that there is not, only the form is known.
pub(crate) fn ring_or_nothing(name: &str) -> &str {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_/".contains(&octet);
    let is_ring = name.len() <= 64 && name.bytes().all(is_plain);
    if is_ring { name } else { "" }
}

/// The same for a key.
pub(crate) fn kid_or_nothing(kid: &str) -> &str {
    if Imported::is_kid(kid) { kid } else { "" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_is_one_json_object_whatever_happened() {
        let item = |index| Item {
            index,
            profile: "id_token",
            typ: "JWT",
            jti: Some(br#""a\"b""#),
            exp: Some(b"17"),
        };
        let signature = Signature {
            ring: Some("id-token/ES256"),
            kid: "k",
            alg: "ES256",
            compact: "a.b.c",
        };
        let signed = r#""ring":"id-token/ES256","kid":"k","alg":"ES256","sha256":"hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg""#;
        let fields = r#""profile":"id_token","typ":"JWT","jti":"a\"b","exp":17"#;
        // How many items were begun, how many signed, and what is written of them.
        for (begun, done, items) in [
            (0, 0, String::new()),
            (1, 0, format!(r#""items":[{{"item":0,{fields}}}],"#)),
            (
                1,
                1,
                format!(r#""items":[{{"item":0,{fields},{signed}}}],"#),
            ),
            (
                2,
                1,
                format!(r#""items":[{{"item":0,{fields},{signed}}},{{"item":1,{fields}}}],"#),
            ),
        ] {
            let mut entry = Entry::begin(5, "Sign", "gate \"way\"", "");
            for index in 0..begun {
                entry.signs(&item(index));
                if index < done {
                    entry.signed(&signature);
                }
            }
            let members = String::from_utf8(entry.end("OK", "").unwrap()).unwrap();
            let start = r#""time":5,"rpc":"Sign","caller":"gate \"way\"","#;
            assert_eq!(members, format!(r#"{start}{items}"status":"OK""#));
            serde_json::from_str::<serde_json::Value>(&format!("{{{members}}}")).unwrap();
        }
    }

    #[test]
    fn what_is_not_kept_is_not_written() {
        let mut off = Entry::off();
        off.administers("RotateKey", "a/ES256", "", "");
        assert!(off.end("OK", "").is_none());
        let mut entry = Entry::begin(5, "KeyAdmin", "operator", "r");
        entry.administers("RevokeKey", "a b", &"k".repeat(257), &"x".repeat(2000));
        let members = String::from_utf8(entry.end("PERMISSION_DENIED", "size").unwrap()).unwrap();
        assert!(members.ends_with(
            r#""request":"r","method":"RevokeKey","status":"PERMISSION_DENIED","rule":"size""#
        ));
        let mut entry = Entry::begin(5, "Sign", "gateway", "");
        let jti = format!("\"{}\"", "j".repeat(200));
        entry.signs(&Item {
            index: 0,
            profile: "id_token",
            typ: "JWT",
            jti: Some(jti.as_bytes()),
            exp: None,
        });
        let members = String::from_utf8(entry.end("OK", "").unwrap()).unwrap();
        assert!(members.contains(r#""jti_sha256":""#) && !members.contains("jjj"));
    }
}
