//! Verify (RFC 7515 §5.2): others' signatures under their public keys and under secrets that we share with them, and our
//! own that come back.

use std::time::Instant;

use proto::v1::{self, verify_request};

use crate::algorithm::{MacAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::error::Error;
use crate::jwk::{self, Jwk};
use crate::keyring::{Ring, Snapshot};
use crate::signature::{self, Candidate, Jws, Verified};

use super::keys::Keys;
use super::mac::mac_algorithm;

impl Keys {
    pub(super) async fn verify_subject(
        &self,
        request: &v1::VerifyRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::VerifyResponse, Error> {
        let jws = match &request.subject {
            Some(verify_request::Subject::CompactJws(jws)) => jws,
            Some(verify_request::Subject::Raw(_)) => return Err(Error::NotBuilt("raw")),
            None => return Err(Error::Malformed("subject is missing")),
        };
        // A name that we do not know is of an algorithm that we do not accept.
        let algorithms: Vec<SignatureAlgorithm> =
            jws.alg.iter().filter_map(|alg| alg.parse().ok()).collect();
        let verified = match &request.key {
            Some(verify_request::Key::PublicJwks(set)) => {
                let keys = jwk::parse_set(set)?;
                let candidates: Vec<Candidate<'_>> =
                    keys.iter().filter_map(Jwk::candidate).collect();
                signature::verify_compact(&jws.token, &jws.typ, &algorithms, &candidates)?
            }
            Some(verify_request::Key::Ring(pattern)) => {
                let snapshot = self.shared.keyring.snapshot();
                let candidates = self.own_candidates(&snapshot, pattern)?;
                signature::verify_compact(&jws.token, &jws.typ, &algorithms, &candidates)?
            }
            Some(verify_request::Key::WrappedSecret(secret)) => {
                self.verify_secret(jws, secret, deadline).await?
            }
            None => return Err(Error::Malformed("key is missing")),
        };
        Ok(v1::VerifyResponse {
            claims: verified.claims.into(),
            header: verified.header.into(),
            kid: verified.kid.unwrap_or_default(),
        })
    }

    /// The token's algorithm is the secret's, and one that the caller named; until then the secret stays closed.
    async fn verify_secret(
        &self,
        jws: &v1::CompactJws,
        secret: &v1::WrappedSecret,
        deadline: Option<Instant>,
    ) -> Result<Verified, Error> {
        let algorithm = mac_algorithm(secret)?;
        let is_named = jws.alg.iter().any(|alg| alg == algorithm.as_str());
        let accepted = is_named.then_some(algorithm);
        let token: Jws<'_, MacAlgorithm> = Jws::parse(&jws.token)?;
        token.expect(&jws.typ, accepted.as_slice())?;
        let key = self.mac_key(secret, algorithm, deadline).await?;
        Ok(token.verify(&key)?)
    }

    /// Keys of ours whose signatures are accepted: of one ring, or of every ring of a purpose.
    fn own_candidates<'a>(
        &self,
        snapshot: &'a Snapshot,
        pattern: &str,
    ) -> Result<Vec<Candidate<'a>>, Error> {
        let rings: Vec<&Ring> = match pattern.strip_suffix("/*") {
            None => vec![self.ring(snapshot, pattern)?],
            Some(purpose) => snapshot
                .rings()
                .filter(|ring| ring.name().purpose() == purpose)
                .filter(|ring| self.caller.may_use(&ring.name().to_string()))
                .collect(),
        };
        if rings.is_empty() {
            return Err(Error::NotAllowed);
        }
        let mut candidates = Vec::new();
        for ring in rings {
            let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
                continue;
            };
            candidates.extend(ring.trusted().filter_map(|key| {
                Some(Candidate {
                    kid: Some(key.kid()),
                    algorithm: Some(algorithm),
                    public: key.public.as_ref()?,
                })
            }));
        }
        Ok(candidates)
    }
}
