//! Client metadata (RFC 7591 §2, OpenID Connect Registration §2, the logout specifications): the one parser for
//! configured clients, for `clients_file` and for registration. Whatever is written here names the members on the wire.

use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Value;

pub use super::localized::Localized;
pub use super::wire::{
    AccessTokenFormat, ApplicationType, AuthenticationMethod, ConsentMode, GrantType, ResponseMode,
    ResponseType, Signing, SubjectType,
};
use crate::jose::alg::{Algorithm, ContentEncryption, KeyManagement};
use crate::scope::Separator;
use crate::secret::Secret;

/// Metadata as it is written down, member by member. [`super::Client::parse`] checks what goes together.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Metadata {
    /// RFC 7591 §3.2.1.
    pub client_id: String,
    /// In clear: for clients whose secret was generated, at least 32 characters. Otherwise use `client_secret_hash`.
    pub client_secret: Option<Secret<String>>,
    /// The output of `oidc-gateway seal-secret`, for a secret that an algorithm takes as its key: only the key-service can
    /// use it. With `client_secret_hash` beside it where the client also presents its secret. Signet's own member.
    pub client_secret_sealed: Option<String>,
    /// The output of `oidc-gateway hash-password`: argon2id, pbkdf2 or bcrypt.
    pub client_secret_hash: Option<Secret<String>>,
    /// Shown to the End-User at login and consent.
    pub client_name: Option<String>,
    /// Home page: checked, and shown nowhere yet.
    pub client_uri: Option<String>,
    /// Shown on the pages, fetched by browsers alone.
    pub logo_uri: Option<String>,
    /// Shown on the pages.
    pub policy_uri: Option<String>,
    /// Shown on the pages.
    pub tos_uri: Option<String>,
    /// For whoever reads the configuration; nothing is done with them.
    pub contacts: Vec<String>,
    /// `web` (default) or `native`.
    pub application_type: Option<ApplicationType>,
    /// Compared octet by octet.
    pub redirect_uris: Vec<String>,
    /// RP-Initiated Logout §3.1. Compared octet by octet.
    pub post_logout_redirect_uris: Vec<String>,
    /// Default: `authorization_code`.
    pub grant_types: Option<Vec<GrantType>>,
    /// Default: `code`.
    pub response_types: Option<Vec<ResponseType>>,
    /// Space-separated words the client may ask for. Default: `openid profile email address phone offline_access`.
    pub scope: Option<String>,
    /// Default: `client_secret_basic`.
    pub token_endpoint_auth_method: Option<AuthenticationMethod>,
    /// For assertions: the one algorithm accepted. Default: every one that goes with the method.
    pub token_endpoint_auth_signing_alg: Option<Algorithm>,
    /// The client's public keys, by value.
    pub jwks: Option<Value>,
    /// The client's public keys, by reference: https.
    pub jwks_uri: Option<String>,
    /// Default: RS256.
    pub id_token_signed_response_alg: Option<Algorithm>,
    /// Default: not encrypted.
    pub id_token_encrypted_response_alg: Option<KeyManagement>,
    /// Default, where there is an alg: A128CBC-HS256.
    pub id_token_encrypted_response_enc: Option<ContentEncryption>,
    /// Default: `none`, which is plain JSON.
    pub userinfo_signed_response_alg: Option<Signing>,
    /// Default: not encrypted.
    pub userinfo_encrypted_response_alg: Option<KeyManagement>,
    /// Default, where there is an alg: A128CBC-HS256.
    pub userinfo_encrypted_response_enc: Option<ContentEncryption>,
    /// The one algorithm accepted in request objects. Default: every one that goes with the client's keys.
    pub request_object_signing_alg: Option<Algorithm>,
    /// The client may encrypt its request objects, and need not.
    pub request_object_encryption_alg: Option<KeyManagement>,
    /// Default, where there is an alg: A128CBC-HS256.
    pub request_object_encryption_enc: Option<ContentEncryption>,
    /// Values of the request parameter `request_uri`: https, compared without what follows `#`.
    pub request_uris: Vec<String>,
    /// `public` (default) or `pairwise`.
    pub subject_type: Option<SubjectType>,
    /// Pairwise identifiers, §5: a list of the redirect URIs of a sector. Fetched and checked at registration.
    pub sector_identifier_uri: Option<String>,
    /// OpenID Connect Registration §2: seconds, used where a request has no max_age.
    pub default_max_age: Option<u32>,
    /// `auth_time` is always in the ID token here, so this is accepted and changes nothing.
    pub require_auth_time: Option<bool>,
    /// Used where a request asks for no `acr`.
    pub default_acr_values: Vec<String>,
    /// OpenID Connect Core §4: https.
    pub initiate_login_uri: Option<String>,
    /// Front-Channel Logout §2: https, of the origin of a redirect URI.
    pub frontchannel_logout_uri: Option<String>,
    /// Front-Channel Logout §2. The session is always named, so this is accepted and changes nothing.
    pub frontchannel_logout_session_required: Option<bool>,
    /// Back-Channel Logout §2.2: https.
    pub backchannel_logout_uri: Option<String>,
    /// Back-Channel Logout §2.2. The session is always named, so this is accepted and changes nothing.
    pub backchannel_logout_session_required: Option<bool>,
    /// RFC 7591 §2. For whoever reads it; nothing is done with it.
    pub software_id: Option<String>,
    /// RFC 7591 §2. For whoever reads it; nothing is done with it.
    pub software_version: Option<String>,

    /// Whether the person is asked. Signet's own member; default `explicit`.
    pub consent: Option<ConsentMode>,
    /// `opaque` (default) or `jwt` (RFC 9068). Signet's own member.
    pub access_token_format: Option<AccessTokenFormat>,
    /// For `jwt`: default RS256. Signet's own member.
    pub access_token_signed_response_alg: Option<Algorithm>,
    /// Values of "aud" in access tokens beside the issuer. Signet's own member.
    pub audience: Vec<String>,
    /// Public clients always must. Signet's own member; default false.
    pub require_pkce: Option<bool>,
    /// Response modes that it may ask for. Signet's own member; default: all.
    pub response_modes: Option<Vec<ResponseMode>>,
    /// How it authenticates at `/introspect`. Signet's own member; default: as at `/token`.
    pub introspection_endpoint_auth_method: Option<AuthenticationMethod>,
    /// Signet's own member; default: as at `/token`.
    pub introspection_endpoint_auth_signing_alg: Option<Algorithm>,
    /// How it authenticates at `/revoke`. Signet's own member; default: as at `/token`.
    pub revocation_endpoint_auth_method: Option<AuthenticationMethod>,
    /// Signet's own member; default: as at `/token`.
    pub revocation_endpoint_auth_signing_alg: Option<Algorithm>,
    /// Accept the token endpoint's URL, and a list, as "aud" of a client assertion. Signet's own member; default false,
    /// for the audience of an assertion is what keeps it from being used elsewhere.
    pub allow_token_endpoint_audience: Option<bool>,
    /// Let userinfo be encrypted without being signed. Signet's own member; default false, for whoever can encrypt to
    /// the client could then have made it.
    pub allow_unsigned_userinfo_encryption: Option<bool>,
    /// The sector of pairwise subjects, `host` or `host:port`. Signet's own member; default: by
    /// `sector_identifier_uri`, else the host of the redirect URIs.
    pub sector_identifier: Option<String>,
    /// What stands between the words of `scope` in its requests. Signet's own member; default: `space`.
    pub scope_separator: Option<Separator>,
    /// Labelled scopes such as `user:email:billing`, and claims by the names of scopes instead of the standard ones.
    /// Signet's own member; default false.
    pub claims_by_scope: Option<bool>,
    /// A refresh token without `offline_access` too; it ends with the session. Signet's own member; default false.
    pub refresh_token_without_offline_access: Option<bool>,
    /// `redirect_uri` may be left out at the token endpoint where one alone is registered. Signet's own member; default
    /// false, for RFC 6749 §4.1.3 requires it.
    pub allow_omitted_redirect_uri: Option<bool>,
    /// Nothing is issued to a disabled client. Signet's own member.
    pub disabled: bool,

    /// `client_name#fr` and its like.
    #[serde(skip)]
    pub localized: Localized,
}

/// What a client may register itself. Everything else is the operator's to say.
pub(crate) const REGISTRABLE: &[&str] = &[
    "client_name",
    "client_uri",
    "logo_uri",
    "policy_uri",
    "tos_uri",
    "contacts",
    "application_type",
    "redirect_uris",
    "post_logout_redirect_uris",
    "grant_types",
    "response_types",
    "scope",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "jwks",
    "jwks_uri",
    "id_token_signed_response_alg",
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "userinfo_signed_response_alg",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "request_object_signing_alg",
    "request_object_encryption_alg",
    "request_object_encryption_enc",
    "request_uris",
    "subject_type",
    "sector_identifier_uri",
    "default_max_age",
    "require_auth_time",
    "default_acr_values",
    "initiate_login_uri",
    "frontchannel_logout_uri",
    "frontchannel_logout_session_required",
    "backchannel_logout_uri",
    "backchannel_logout_session_required",
    "software_id",
    "software_version",
];

impl Metadata {
    /// Members as they were registered; `None`: one has not the form that it must have.
    pub(super) fn of_members(members: &serde_json::Map<String, Value>) -> Option<Metadata> {
        serde_json::from_value(Value::Object(members.clone())).ok()
    }

    /// Every algorithm that takes the client's secret as its key, with the fewest characters that the secret must have.
    pub(crate) fn shortest_key(&self) -> Option<usize> {
        // OpenID Connect Core §10.2: the key of a symmetric JWE is a hash of the secret, whatever its length.
        const HASHED: usize = 32;
        let signing = [
            self.token_endpoint_auth_signing_alg,
            self.introspection_endpoint_auth_signing_alg,
            self.revocation_endpoint_auth_signing_alg,
            self.id_token_signed_response_alg,
            self.request_object_signing_alg,
            match self.userinfo_signed_response_alg {
                Some(Signing::By(algorithm)) => Some(algorithm),
                _ => None,
            },
        ];
        let signing = signing
            .into_iter()
            .flatten()
            .filter(|algorithm| algorithm.is_symmetric())
            .map(Algorithm::shortest_secret);
        let encryption = [
            self.id_token_encrypted_response_alg,
            self.userinfo_encrypted_response_alg,
        ];
        let encryption = encryption
            .into_iter()
            .flatten()
            .filter(|alg| alg.is_symmetric())
            .map(|_| HASHED);
        // Whichever of HS256, HS384 and HS512 the client chooses.
        let assertion = [
            self.token_endpoint_auth_method,
            self.introspection_endpoint_auth_method,
            self.revocation_endpoint_auth_method,
        ];
        let assertion = assertion
            .into_iter()
            .flatten()
            .filter(|method| *method == AuthenticationMethod::ClientSecretJwt)
            .map(|_| Algorithm::HS256.shortest_secret());
        signing.chain(encryption).chain(assertion).max()
    }

    /// Whether a secret is presented at an endpoint, or used as a key.
    pub(crate) fn needs_secret(&self) -> bool {
        let token = self
            .token_endpoint_auth_method
            .unwrap_or(AuthenticationMethod::ClientSecretBasic);
        [
            Some(token),
            self.introspection_endpoint_auth_method,
            self.revocation_endpoint_auth_method,
        ]
        .into_iter()
        .flatten()
        .any(AuthenticationMethod::needs_secret)
            || self.shortest_key().is_some()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Metadata, D::Error> {
        from.deserialize_map(WithLanguages)
    }
}

/// Members with a language tag go one way, all others to the derived parser, which knows them by name.
struct WithLanguages;

impl<'de> Visitor<'de> for WithLanguages {
    type Value = Metadata;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("client metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Metadata, A::Error> {
        let mut localized = Localized::default();
        let members = Plain {
            members,
            localized: &mut localized,
        };
        let metadata = Metadata::deserialize(de::value::MapAccessDeserializer::new(members))?;
        Ok(Metadata {
            localized,
            ..metadata
        })
    }
}

struct Plain<'a, A> {
    members: A,
    localized: &'a mut Localized,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Plain<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            match self.members.next_key_seed(Name(&mut seed))? {
                None => return Ok(None),
                Some(Member::Plain(name)) => return Ok(Some(name)),
                Some(Member::Localized(name)) => {
                    let value = self.members.next_value()?;
                    self.localized
                        .add(&name, value)
                        .map_err(|odd| de::Error::custom(format!("{name}: {}", odd.sentence())))?;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

enum Member<T> {
    Plain(T),
    Localized(String),
}

/// Asked from inside the original parser, so that what is wrong with a name is said with its place.
struct Name<'a, K>(&'a mut Option<K>);

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, K> {
    type Value = Member<K::Value>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Name<'_, K> {
    type Value = Member<K::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        if name.contains('#') {
            return Ok(Member::Localized(name.to_owned()));
        }
        let seed = self.0.take().ok_or_else(|| E::custom("asked twice"))?;
        seed.deserialize(StrDeserializer::new(name))
            .map(Member::Plain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::page::locale::Locales;

    #[test]
    fn members_with_languages() {
        let text = r##"{"client_id": "c", "client_name#fr": "Lui", "client_name": "He"}"##;
        let metadata: Metadata = serde_json::from_str(text).unwrap();
        assert_eq!(metadata.client_name.as_deref(), Some("He"));
        let french = Locales::parse("fr");
        let french = metadata.localized.find("client_name", &french);
        assert_eq!(french, Some("Lui"));
        let text = "client_id = \"c\"\n\"tos_uri#de-AT\" = \"https://rp.example/agb\"\n";
        let metadata: Metadata = toml::from_str(text).unwrap();
        assert_eq!(
            metadata.localized.find("tos_uri", &Locales::parse("de-at")),
            Some("https://rp.example/agb")
        );
    }

    #[test]
    fn unknown_members_are_refused_where_they_stand() {
        for (text, place) in [
            ("client_id = \"c\"\nclient_nam = \"x\"\n", Some(14..24)),
            ("client_id = \"c\"\n\"clientname#fr\" = \"x\"\n", None),
            ("client_id = \"c\"\n\"client_name#f_r\" = \"x\"\n", None),
        ] {
            let error = toml::from_str::<Metadata>(text).unwrap_err();
            if let Some(place) = place {
                assert!(
                    error.message().starts_with("unknown field `client_nam`"),
                    "{error}"
                );
                assert!(error.span().is_some_and(|span| span.start <= place.end));
            }
        }
        let twice = r##"{"client_name#fr": "a", "client_name#FR": "b"}"##;
        assert!(serde_json::from_str::<Metadata>(twice).is_err());
    }

    #[test]
    fn what_may_be_registered_is_known() {
        for name in REGISTRABLE {
            let text = format!("{{\"{name}\": null}}");
            let error = match serde_json::from_str::<Metadata>(&text) {
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            assert!(!error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn secrets_that_are_keys() {
        let rows = [
            (r#"{}"#, None, true),
            (
                r#"{"token_endpoint_auth_method": "private_key_jwt"}"#,
                None,
                false,
            ),
            (
                r#"{"token_endpoint_auth_method": "client_secret_jwt"}"#,
                Some(32),
                true,
            ),
            (
                r#"{"token_endpoint_auth_method": "none", "id_token_signed_response_alg": "HS512"}"#,
                Some(64),
                true,
            ),
            (
                r#"{"userinfo_signed_response_alg": "HS384"}"#,
                Some(48),
                true,
            ),
            (r#"{"userinfo_signed_response_alg": "none"}"#, None, true),
            (
                r#"{"id_token_encrypted_response_alg": "dir"}"#,
                Some(32),
                true,
            ),
            (
                r#"{"id_token_encrypted_response_alg": "RSA-OAEP"}"#,
                None,
                true,
            ),
        ];
        for (text, key, secret) in rows {
            let metadata: Metadata = serde_json::from_str(text).unwrap();
            assert_eq!(metadata.shortest_key(), key, "{text}");
            assert_eq!(metadata.needs_secret(), secret, "{text}");
        }
    }
}
