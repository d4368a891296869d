//! `admin import` and `admin export`: public keys (RFC 7517 §5) on their way between providers. Private members are found
//! before anything is sent: who holds such a file by mistake should not spread it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use proto::v1;
use proto::v1::key_admin_client::KeyAdminClient;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::Error;
use crate::algorithm::{RingAlgorithm, RingName, SignatureAlgorithm};
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::jwk::{self, Invalid, Jwk};

/// Says standard input instead of a file.
const STANDARD_INPUT: &str = "-";
/// The longest file, in octets.
const LONGEST: u64 = 1024 * 1024;

/// Which keys, and where they go.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The ring beside whose keys they stand, for example id-token/RS256
    #[arg(long)]
    ring: String,
    /// A JWK Set or one JWK; - reads standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    jwks: PathBuf,
    /// Only the key of this kid; otherwise all of the set that are for the ring's algorithm
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<String>,
    /// How long they are published: a duration such as 30d, or a time such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Says what would happen, and does nothing
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// One request for each key.
    pub(super) fn read(&self) -> Result<Vec<v1::ImportPublicKeyRequest>, Error> {
        let algorithm = self.algorithm()?;
        let until = self.until()?;
        let json = self.file()?;
        let keys = self.choose(&json, algorithm)?;
        let request = |jwk: Jwk| {
            let kid = jwk.kid.unwrap_or_else(|| jwk::thumbprint(&jwk.public));
            let public = jwk::to_json(&jwk.public, Some(algorithm.as_str()), "sig", &kid);
            v1::ImportPublicKeyRequest {
                ring: self.ring.clone(),
                jwk: public.into(),
                until,
                dry_run: self.dry_run,
            }
        };
        Ok(keys.into_iter().map(request).collect())
    }

    fn algorithm(&self) -> Result<SignatureAlgorithm, Error> {
        match self.ring.parse::<RingName>().map(|ring| ring.algorithm()) {
            Ok(RingAlgorithm::Signature(algorithm)) => Ok(algorithm),
            _ => Err(Error::Input(format!(
                "--ring {}: not a ring that signs, such as id-token/RS256",
                self.ring
            ))),
        }
    }

    fn until(&self) -> Result<i64, Error> {
        if let Some(duration) = parse_duration(&self.until) {
            let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
            return Ok(Clock::system().now().saturating_add(seconds));
        }
        match self.until.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(time.as_second()),
            Err(_) => Err(Error::Input(format!(
                "--until {}: neither a duration such as 30d nor a time such as 2030-01-31T12:00:00Z",
                self.until
            ))),
        }
    }

    fn file(&self) -> Result<Vec<u8>, Error> {
        let mut json = Vec::new();
        let read = if self.jwks == Path::new(STANDARD_INPUT) {
            let input = std::io::stdin().lock();
            input.take(LONGEST + 1).read_to_end(&mut json)
        } else {
            let file = std::fs::File::open(&self.jwks);
            file.and_then(|file| file.take(LONGEST + 1).read_to_end(&mut json))
        };
        let length = read.map_err(|error| self.wrong(&error.to_string()))?;
        // Half of it would be told to be no JSON.
        if u64::try_from(length).is_ok_and(|length| length > LONGEST) {
            return Err(self.wrong("is longer than a MiB: take out the keys that are meant"));
        }
        Ok(json)
    }

    /// Those of a set that are for the ring; or the one that is named, whatever is wrong with the others.
    fn choose(&self, json: &[u8], algorithm: SignatureAlgorithm) -> Result<Vec<Jwk>, Error> {
        let value: Value = serde_json::from_slice(json).map_err(|_| self.wrong("is not JSON"))?;
        let all = match value.get("keys") {
            None => vec![value],
            Some(Value::Array(keys)) => keys.clone(),
            Some(_) => return Err(self.wrong("is neither a JWK Set nor a JWK")),
        };
        let mut chosen = Vec::new();
        for key in &all {
            let name = key.get("kid").and_then(Value::as_str);
            let is_meant = self.kid.as_deref().is_none_or(|kid| name == Some(kid));
            let named = name.unwrap_or("without a kid");
            match Jwk::parse(key.to_string().as_bytes()) {
                Err(Invalid::Private) => {
                    let problem =
                        format!("key {named} holds private key material: nothing was sent");
                    return Err(self.wrong(&problem));
                }
                Ok(jwk) if is_meant && is_for(&jwk, algorithm) => chosen.push(jwk),
                Ok(_) if is_meant && self.kid.is_some() => {
                    let problem = format!("key {named} is not for {}", self.ring);
                    return Err(self.wrong(&problem));
                }
                Err(Invalid::Unsupported) if self.kid.is_none() => {}
                Err(invalid) if is_meant => {
                    return Err(self.wrong(&format!("key {named}: {invalid}")));
                }
                Ok(_) | Err(_) => {}
            }
        }
        if chosen.is_empty() {
            let problem = match &self.kid {
                Some(kid) => format!("none of its {} keys has the kid {kid}", all.len()),
                None => format!("none of its {} keys is for {}", all.len(), self.ring),
            };
            return Err(self.wrong(&problem));
        }
        Ok(chosen)
    }

    fn wrong(&self, problem: &str) -> Error {
        Error::Input(format!("{}: {problem}", self.jwks.display()))
    }
}

fn is_for(jwk: &Jwk, algorithm: SignatureAlgorithm) -> bool {
    let is_named = jwk
        .alg
        .as_deref()
        .is_none_or(|alg| alg == algorithm.as_str());
    is_named && jwk.may_verify() && algorithm.fits(&jwk.public)
}

/// Has each imported. When one is refused, those before it are told of: they are published.
pub(super) async fn send(
    client: &mut KeyAdminClient<Channel>,
    requests: Vec<v1::ImportPublicKeyRequest>,
) -> Result<Vec<v1::ImportPublicKeyResponse>, Error> {
    let mut imported: Vec<v1::ImportPublicKeyResponse> = Vec::with_capacity(requests.len());
    for request in requests {
        match client.import_public_key(request).await {
            Ok(answer) => imported.push(answer.into_inner()),
            Err(status) if imported.is_empty() || imported.iter().any(|it| it.dry_run) => {
                return Err(status.into());
            }
            Err(status) => {
                let keys = imported.iter().filter_map(|it| it.key.as_ref());
                let kids: Vec<&str> = keys.map(|key| key.kid.as_str()).collect();
                return Err(Error::Partly {
                    problem: Box::new(status.into()),
                    before: kids.join(", "),
                });
            }
        }
    }
    Ok(imported)
}

/// The service's own keys of a list, as relying parties see them.
pub(super) fn jwk_set(ring: &str, keys: &[v1::Key]) -> Result<Value, Error> {
    let own = keys.iter().filter(|key| key.generation > 0);
    let jwks = own.filter_map(|key| serde_json::from_slice::<Value>(&key.jwk).ok());
    let jwks: Vec<Value> = jwks.collect();
    // An empty set would be taken for one by whoever imports it.
    if ring.is_empty() || jwks.is_empty() {
        return Err(Error::Input(format!(
            "{ring:?} has no public key of its own to export: `admin list` shows the rings and what they have"
        )));
    }
    Ok(json!({ "keys": jwks }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 8037 A.2 and RFC 7515 A.3.1.
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"ec","x5t":"AA"}"#;

    fn import(kid: Option<&str>) -> Import {
        Import {
            ring: "id-token/ES256".to_owned(),
            jwks: "keys.json".into(),
            kid: kid.map(str::to_owned),
            until: "30d".to_owned(),
            dry_run: false,
        }
    }

    #[test]
    fn the_keys_that_are_meant_are_chosen() {
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let with = |member: &str| EC.replacen('{', &format!("{{{member},"), 1);
        let (enc, es384) = (with(r#""use":"enc""#), with(r#""alg":"ES384""#));
        let other = EC.replace(r#""kid":"ec""#, r#""kid":"other""#);
        let weak = EC.replace("x_FE", "x_FF").replace("\"ec\"", "\"weak\"");
        let private = with(r#""d":"AA""#);
        let unknown = r#"{"kty":"AKP","kid":"new"}"#;
        for (what, json, kid, expected) in [
            ("one JWK", EC.to_owned(), None, Ok(&["ec"][..])),
            (
                "all that fit",
                set(&[ED, EC, &other, unknown]),
                None,
                Ok(&["ec", "other"]),
            ),
            (
                "the one that is named",
                set(&[ED, EC, &other]),
                Some("other"),
                Ok(&["other"]),
            ),
            (
                "beside one that cannot be used",
                set(&[EC, &weak]),
                Some("ec"),
                Ok(&["ec"]),
            ),
            (
                "one that cannot be used",
                set(&[EC, &weak]),
                None,
                Err("key weak: the point is not"),
            ),
            (
                "for another algorithm",
                set(&[ED]),
                None,
                Err("none of its 1 keys is for"),
            ),
            (
                "named, for another algorithm",
                set(&[ED]),
                Some("ed"),
                Err("key ed is not for"),
            ),
            (
                "named, and not there",
                set(&[EC]),
                Some("ed"),
                Err("none of its 1 keys has the kid ed"),
            ),
            (
                "named, and unknown",
                set(&[unknown]),
                Some("new"),
                Err("key new: key type not"),
            ),
            (
                "to encrypt with",
                set(&[&enc]),
                None,
                Err("none of its 1 keys is for"),
            ),
            (
                "of another alg",
                es384,
                None,
                Err("none of its 1 keys is for"),
            ),
            (
                "private",
                set(&[EC, &private]),
                Some("ed"),
                Err("key ec holds private key material"),
            ),
            (
                "private and alone",
                private.clone(),
                None,
                Err("key ec holds private key material"),
            ),
            (
                "no set",
                r#"{"keys":{}}"#.to_owned(),
                None,
                Err("is neither a JWK Set nor a JWK"),
            ),
            ("no JSON", "keys".to_owned(), None, Err("is not JSON")),
        ] {
            let chosen = import(kid).choose(json.as_bytes(), SignatureAlgorithm::Es256);
            let kids = chosen.map(|keys| {
                keys.into_iter()
                    .map(|key| key.kid.unwrap())
                    .collect::<Vec<_>>()
            });
            match (kids, expected) {
                (Ok(kids), Ok(expected)) => assert_eq!(kids, expected, "{what}"),
                (Err(error), Err(expected)) => {
                    let error = error.to_string();
                    assert!(
                        error.starts_with(&format!("keys.json: {expected}")),
                        "{what}: {error}"
                    );
                }
                (kids, _) => panic!("{what}: {kids:?}"),
            }
        }
    }

    #[test]
    fn the_end_is_a_duration_or_a_time() {
        let until = |text: &str| {
            let mut import = import(None);
            text.clone_into(&mut import.until);
            import.until()
        };
        let now = Clock::system().now();
        let month = until("30d").unwrap() - now;
        assert!((month - 30 * 24 * 3600).abs() < 60, "{month}");
        assert_eq!(until("2030-01-31T12:00:00Z").unwrap(), 1_896_091_200);
        for wrong in ["", "soon", "2030-01-31", "12"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }
}
