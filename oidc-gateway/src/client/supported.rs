//! What clients can have: what the key-service can do, as far as the configuration lets it. The discovery document says
//! it and registration is held against it, both by this one table. Clients that exist keep what they have.

use serde::Deserialize;

use super::Wrong;
use super::metadata::{AuthenticationMethod, Metadata, Signing, SubjectType};
use super::redirect_uri::is_https;
use crate::jose::alg::{Algorithm, ContentEncryption, KeyManagement};
use crate::keys::Published;
use crate::provider::Provider;
use crate::user::subject;

/// The purposes of the rings that sign ID tokens and userinfo, and that decrypt request objects.
const ID_TOKEN: &str = "id-token";
const REQUEST_OBJECT: &str = "request-object";

/// `[discovery]`: members of the discovery document by their names. A list leaves out what it does not name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Pages for people who write clients, and for people who use them. Default: none.
    pub service_documentation: Option<String>,
    /// What clients may do with what they learn. Default: none.
    pub op_policy_uri: Option<String>,
    /// The terms of service. Default: none.
    pub op_tos_uri: Option<String>,
    /// Default: all.
    pub subject_types_supported: Option<Vec<SubjectType>>,
    /// Default: all.
    pub token_endpoint_auth_methods_supported: Option<Vec<AuthenticationMethod>>,
    /// Of client assertions, at each endpoint. Default: all.
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<Algorithm>>,
    /// Default: all.
    pub id_token_signing_alg_values_supported: Option<Vec<Algorithm>>,
    /// Default: all.
    pub id_token_encryption_alg_values_supported: Option<Vec<KeyManagement>>,
    /// Default: all.
    pub id_token_encryption_enc_values_supported: Option<Vec<ContentEncryption>>,
    /// Default: all.
    pub userinfo_signing_alg_values_supported: Option<Vec<Algorithm>>,
    /// Default: all.
    pub userinfo_encryption_alg_values_supported: Option<Vec<KeyManagement>>,
    /// Default: all.
    pub userinfo_encryption_enc_values_supported: Option<Vec<ContentEncryption>>,
    /// Default: all.
    pub request_object_signing_alg_values_supported: Option<Vec<Algorithm>>,
    /// Default: all.
    pub request_object_encryption_alg_values_supported: Option<Vec<KeyManagement>>,
    /// Default: all.
    pub request_object_encryption_enc_values_supported: Option<Vec<ContentEncryption>>,
}

impl Settings {
    /// Which key is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let pages = [
            ("service_documentation", &self.service_documentation),
            ("op_policy_uri", &self.op_policy_uri),
            ("op_tos_uri", &self.op_tos_uri),
        ];
        for (key, page) in pages {
            if page.as_deref().is_some_and(|page| !is_https(page)) {
                return Err((key, "must be an https URL"));
            }
        }
        // OpenID Connect Discovery §3: "The algorithm RS256 MUST be included."
        let signing = self.id_token_signing_alg_values_supported.as_deref();
        if signing.is_some_and(|list| !list.contains(&Algorithm::RS256)) {
            return Err((
                "id_token_signing_alg_values_supported",
                "must have RS256, as OpenID Connect Discovery §3 says",
            ));
        }
        Ok(())
    }
}

/// What there is.
#[derive(Debug)]
pub(crate) struct Supported {
    pub(crate) subject_types: Vec<SubjectType>,
    pub(crate) authentication: Vec<AuthenticationMethod>,
    /// In client assertions.
    pub(crate) authentication_signing: Vec<Algorithm>,
    pub(crate) id_token: Algorithms,
    pub(crate) userinfo: Algorithms,
    pub(crate) request_object: Algorithms,
}

/// For one kind of JWT.
#[derive(Debug)]
pub(crate) struct Algorithms {
    pub(crate) signing: Vec<Algorithm>,
    pub(crate) encryption_alg: Vec<KeyManagement>,
    pub(crate) encryption_enc: Vec<ContentEncryption>,
}

impl Supported {
    /// As the keys are now.
    pub(crate) fn of(provider: &Provider, published: &Published) -> Supported {
        let settings = &provider.config.discovery;
        let can = &published.capabilities;
        // A client's secret is used as a key where it can be sealed.
        let with_secret = |algorithm: Algorithm| can.seal && algorithm.is_symmetric();
        let signs = |algorithm: Algorithm| {
            with_secret(algorithm) || published.signs(ID_TOKEN, algorithm.as_str())
        };
        let verifies = |algorithm: Algorithm| {
            with_secret(algorithm) || has(&can.verify_alg, algorithm.as_str())
        };
        let wraps = |alg: KeyManagement| has(&can.wrap_alg, alg.as_str());
        let wraps_enc = |enc: ContentEncryption| has(&can.wrap_enc, enc.as_str());
        let opens = |alg: KeyManagement| {
            provider.config.authorization.encrypted_request_objects > 0
                && has_ring_for(&can.decrypt_rings, alg)
        };
        let opens_enc = |enc: ContentEncryption| {
            KeyManagement::ALL.iter().copied().any(opens) && has(&can.decrypt_enc, enc.as_str())
        };
        Supported {
            subject_types: some(
                SubjectType::ALL,
                settings.subject_types_supported.as_deref(),
                |each| each == SubjectType::Public || has(&can.mac_rings, subject::RING),
            ),
            authentication: some(
                AuthenticationMethod::ALL,
                settings.token_endpoint_auth_methods_supported.as_deref(),
                |method| can.seal || method != AuthenticationMethod::ClientSecretJwt,
            ),
            authentication_signing: some(
                Algorithm::ALL,
                settings
                    .token_endpoint_auth_signing_alg_values_supported
                    .as_deref(),
                verifies,
            ),
            id_token: Algorithms {
                signing: some(
                    Algorithm::ALL,
                    settings.id_token_signing_alg_values_supported.as_deref(),
                    signs,
                ),
                encryption_alg: some(
                    KeyManagement::ALL,
                    settings.id_token_encryption_alg_values_supported.as_deref(),
                    wraps,
                ),
                encryption_enc: some(
                    ContentEncryption::ALL,
                    settings.id_token_encryption_enc_values_supported.as_deref(),
                    wraps_enc,
                ),
            },
            userinfo: Algorithms {
                signing: some(
                    Algorithm::ALL,
                    settings.userinfo_signing_alg_values_supported.as_deref(),
                    signs,
                ),
                encryption_alg: some(
                    KeyManagement::ALL,
                    settings.userinfo_encryption_alg_values_supported.as_deref(),
                    wraps,
                ),
                encryption_enc: some(
                    ContentEncryption::ALL,
                    settings.userinfo_encryption_enc_values_supported.as_deref(),
                    wraps_enc,
                ),
            },
            request_object: Algorithms {
                signing: some(
                    Algorithm::ALL,
                    settings
                        .request_object_signing_alg_values_supported
                        .as_deref(),
                    verifies,
                ),
                encryption_alg: some(
                    KeyManagement::ALL,
                    settings
                        .request_object_encryption_alg_values_supported
                        .as_deref(),
                    opens,
                ),
                encryption_enc: some(
                    ContentEncryption::ALL,
                    settings
                        .request_object_encryption_enc_values_supported
                        .as_deref(),
                    opens_enc,
                ),
            },
        }
    }

    /// Whether metadata asks for nothing that there is not.
    pub(super) fn check(&self, metadata: &Metadata) -> Result<(), Wrong> {
        let signed = |member, algorithm: Option<Algorithm>, all: &[Algorithm]| {
            member_of(member, algorithm, all)
        };
        member_of("subject_type", metadata.subject_type, &self.subject_types)?;
        member_of(
            "token_endpoint_auth_method",
            metadata
                .token_endpoint_auth_method
                .or(Some(AuthenticationMethod::ClientSecretBasic)),
            &self.authentication,
        )?;
        signed(
            "token_endpoint_auth_signing_alg",
            metadata.token_endpoint_auth_signing_alg,
            &self.authentication_signing,
        )?;
        signed(
            "id_token_signed_response_alg",
            metadata
                .id_token_signed_response_alg
                .or(Some(Algorithm::RS256)),
            &self.id_token.signing,
        )?;
        let userinfo = match metadata.userinfo_signed_response_alg {
            Some(Signing::By(algorithm)) => Some(algorithm),
            Some(Signing::None) | None => None,
        };
        signed(
            "userinfo_signed_response_alg",
            userinfo,
            &self.userinfo.signing,
        )?;
        signed(
            "request_object_signing_alg",
            metadata.request_object_signing_alg,
            &self.request_object.signing,
        )?;
        let encrypted = [
            (
                "id_token_encrypted_response_alg",
                metadata.id_token_encrypted_response_alg,
                "id_token_encrypted_response_enc",
                metadata.id_token_encrypted_response_enc,
                &self.id_token,
            ),
            (
                "userinfo_encrypted_response_alg",
                metadata.userinfo_encrypted_response_alg,
                "userinfo_encrypted_response_enc",
                metadata.userinfo_encrypted_response_enc,
                &self.userinfo,
            ),
            (
                "request_object_encryption_alg",
                metadata.request_object_encryption_alg,
                "request_object_encryption_enc",
                metadata.request_object_encryption_enc,
                &self.request_object,
            ),
        ];
        for (alg_member, alg, enc_member, enc, all) in encrypted {
            member_of(alg_member, alg, &all.encryption_alg)?;
            let default = alg.map(|_| ContentEncryption::A128CbcHs256);
            member_of(enc_member, enc.or(default), &all.encryption_enc)?;
        }
        Ok(())
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|each| each == name)
}

/// A key to agree on a secret with serves ECDH-ES alone and with each key wrap; its ring is named after its curve too.
fn has_ring_for(rings: &[String], alg: KeyManagement) -> bool {
    let mut rings = rings
        .iter()
        .filter_map(|ring| ring.split_once('/'))
        .filter(|(purpose, _)| *purpose == REQUEST_OBJECT)
        .map(|(_, algorithm)| algorithm);
    match alg {
        KeyManagement::RsaOaep | KeyManagement::RsaOaep256 => {
            rings.any(|algorithm| algorithm == alg.as_str())
        }
        KeyManagement::EcdhEs
        | KeyManagement::EcdhEsA128Kw
        | KeyManagement::EcdhEsA192Kw
        | KeyManagement::EcdhEsA256Kw => rings.any(|algorithm| algorithm.starts_with("ECDH-ES")),
        _ => false,
    }
}

fn some<T: Copy + PartialEq>(
    all: &[T],
    listed: Option<&[T]>,
    is_there: impl Fn(T) -> bool,
) -> Vec<T> {
    all.iter()
        .copied()
        .filter(|each| is_there(*each) && listed.is_none_or(|listed| listed.contains(each)))
        .collect()
}

fn member_of<T: PartialEq>(member: &'static str, value: Option<T>, all: &[T]) -> Result<(), Wrong> {
    match value.is_none_or(|value| all.contains(&value)) {
        true => Ok(()),
        false => Err(Wrong::new(
            member,
            "is not one of those that the discovery document lists",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_that_decrypt() {
        let rings = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let agreeing = rings(&["request-object/ECDH-ES-P384"]);
        let rsa = rings(&["request-object/RSA-OAEP", "other/RSA-OAEP-256"]);
        let rows = [
            (&agreeing, KeyManagement::EcdhEs, true),
            (&agreeing, KeyManagement::EcdhEsA192Kw, true),
            (&agreeing, KeyManagement::RsaOaep, false),
            (&agreeing, KeyManagement::A128Kw, false),
            (&rsa, KeyManagement::RsaOaep, true),
            (&rsa, KeyManagement::RsaOaep256, false),
            (&rsa, KeyManagement::EcdhEs, false),
            (&rsa, KeyManagement::Direct, false),
        ];
        for (rings, alg, there) in rows {
            assert_eq!(has_ring_for(rings, alg), there, "{rings:?} {alg}");
        }
    }

    #[test]
    fn lists_leave_out_what_they_do_not_name() {
        let all = Algorithm::ALL;
        let listed = [Algorithm::ES256, Algorithm::HS256];
        let there = |algorithm: Algorithm| !algorithm.is_symmetric();
        assert_eq!(some(all, Some(&listed), there), [Algorithm::ES256]);
        assert_eq!(some(all, None, there).len(), 10);
    }

    #[test]
    fn rs256_stays() {
        let settings = |list: &[Algorithm]| Settings {
            id_token_signing_alg_values_supported: Some(list.to_vec()),
            ..Settings::default()
        };
        assert!(settings(&[Algorithm::ES256]).check().is_err());
        assert!(
            settings(&[Algorithm::ES256, Algorithm::RS256])
                .check()
                .is_ok()
        );
    }
}
