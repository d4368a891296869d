//! Mac (RFC 2104, RFC 6238): what a secret of ours makes of an input, and the one-time codes of somebody's seed. And
//! the secrets that others share with us, opened to sign and verify with.

use std::time::Instant;

use proto::v1::{self, mac_request};

use crate::algorithm::MacAlgorithm;
use crate::error::Error;
use crate::keyring::mac::MacPurpose;
use crate::keyring::policy::Rule;
use crate::signature::{MacKey, Seed};

use super::keys::Keys;

/// The most time steps of one request.
const STEPS: usize = 16;

impl Keys {
    /// Opens a secret that somebody shares with us, for this algorithm and no other.
    pub(super) async fn mac_key(
        &self,
        secret: &v1::WrappedSecret,
        algorithm: MacAlgorithm,
        deadline: Option<Instant>,
    ) -> Result<MacKey, Error> {
        let secret = self.open_wrapped_secret(secret, deadline).await?;
        MacKey::of(algorithm, &secret).ok_or(Rule::SecretLength.into())
    }

    pub(super) async fn compute_mac(
        &self,
        request: &v1::MacRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::MacResponse, Error> {
        let purpose = match request.purpose() {
            v1::MacPurpose::Unspecified => {
                return Err(Error::Malformed("purpose is missing or unknown"));
            }
            v1::MacPurpose::Totp => return self.one_time_codes(request, deadline).await,
            v1::MacPurpose::PairwiseSubject => MacPurpose::PairwiseSubject,
            v1::MacPurpose::OpaqueToken => MacPurpose::OpaqueToken,
        };
        let Some(mac_request::Key::Ring(ring)) = &request.key else {
            return Err(Error::Malformed("key is not a ring"));
        };
        if !request.steps.is_empty() {
            return Err(Error::Malformed("steps are for one-time codes"));
        }
        let keyring = &self.shared.keyring;
        let permit = {
            let snapshot = keyring.snapshot();
            let ring = self.ring(&snapshot, ring)?;
            keyring.permit_mac(ring, purpose, &request.input)?
        };
        Ok(v1::MacResponse {
            output: keyring.mac(permit, deadline).await?.into(),
            codes: Vec::new(),
        })
    }

    async fn one_time_codes(
        &self,
        request: &v1::MacRequest,
        deadline: Option<Instant>,
    ) -> Result<v1::MacResponse, Error> {
        let Some(mac_request::Key::WrappedSecret(secret)) = &request.key else {
            return Err(Error::Malformed("key is not a wrapped secret"));
        };
        if !request.input.is_empty() {
            return Err(Error::Malformed("one-time codes have no input"));
        }
        if request.steps.is_empty() || request.steps.len() > STEPS {
            return Err(Error::Malformed("from 1 to 16 steps are asked at a time"));
        }
        let algorithm = secret.alg.parse();
        let algorithm = algorithm
            .map_err(|_| Error::Malformed("wrapped_secret.alg is not HS1, HS256 or HS512"))?;
        let seed = self.open_wrapped_secret(secret, deadline).await?;
        let seed = Seed::of(algorithm, &seed).ok_or(Rule::SecretLength)?;
        Ok(v1::MacResponse {
            codes: request.steps.iter().map(|step| seed.code(*step)).collect(),
            ..Default::default()
        })
    }
}

/// The algorithm that a shared secret is for.
pub(super) fn mac_algorithm(secret: &v1::WrappedSecret) -> Result<MacAlgorithm, Error> {
    let algorithm = secret.alg.parse();
    algorithm.map_err(|_| Error::Malformed("wrapped_secret.alg is not HS256, HS384 or HS512"))
}
