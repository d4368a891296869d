//! Client metadata (RFC 7591 §2, OpenID Connect Registration §2): the one parser for configured clients, for
//! `clients_file` and for registration. Whatever is written here names the members on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jose::alg::Algorithm;
use crate::secret::Secret;

/// A registered member that this version does not act upon: accepted, named in a warning, and not kept.
type NotActedUpon = Option<Value>;

/// Metadata as it is written down, member by member. [`super::Client::parse`] checks what goes together.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metadata {
    /// RFC 7591 §3.2.1.
    pub client_id: String,
    /// In clear: for clients whose secret was generated, at least 32 characters. Otherwise use `client_secret_hash`.
    pub client_secret: Option<Secret<String>>,
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
    /// For `private_key_jwt`: the one algorithm accepted. Default: every asymmetric one.
    pub token_endpoint_auth_signing_alg: Option<Algorithm>,
    /// The client's public keys, by value.
    pub jwks: Option<Value>,
    /// Default: RS256.
    pub id_token_signed_response_alg: Option<Algorithm>,
    /// OpenID Connect Registration §2: seconds, used where a request has no max_age.
    pub default_max_age: Option<u32>,
    /// `auth_time` is always in the ID token here, so this is accepted and changes nothing.
    pub require_auth_time: Option<bool>,
    /// `public` is the one type of this version.
    pub subject_type: Option<SubjectType>,
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
    /// Accept the token endpoint's URL, and a list, as "aud" of a client assertion. Signet's own member; default false,
    /// for the audience of an assertion is what keeps it from being used elsewhere.
    pub allow_token_endpoint_audience: Option<bool>,
    /// Nothing is issued to a disabled client. Signet's own member.
    pub disabled: bool,

    #[allow(missing_docs)]
    pub jwks_uri: NotActedUpon,
    #[allow(missing_docs)]
    pub sector_identifier_uri: NotActedUpon,
    #[allow(missing_docs)]
    pub id_token_encrypted_response_alg: NotActedUpon,
    #[allow(missing_docs)]
    pub id_token_encrypted_response_enc: NotActedUpon,
    #[allow(missing_docs)]
    pub userinfo_signed_response_alg: NotActedUpon,
    #[allow(missing_docs)]
    pub userinfo_encrypted_response_alg: NotActedUpon,
    #[allow(missing_docs)]
    pub userinfo_encrypted_response_enc: NotActedUpon,
    #[allow(missing_docs)]
    pub request_object_signing_alg: NotActedUpon,
    #[allow(missing_docs)]
    pub request_object_encryption_alg: NotActedUpon,
    #[allow(missing_docs)]
    pub request_object_encryption_enc: NotActedUpon,
    #[allow(missing_docs)]
    pub default_acr_values: NotActedUpon,
    #[allow(missing_docs)]
    pub initiate_login_uri: NotActedUpon,
    #[allow(missing_docs)]
    pub request_uris: NotActedUpon,
    #[allow(missing_docs)]
    pub frontchannel_logout_uri: NotActedUpon,
    #[allow(missing_docs)]
    pub frontchannel_logout_session_required: NotActedUpon,
    #[allow(missing_docs)]
    pub backchannel_logout_uri: NotActedUpon,
    #[allow(missing_docs)]
    pub backchannel_logout_session_required: NotActedUpon,
    #[allow(missing_docs)]
    pub software_id: NotActedUpon,
    #[allow(missing_docs)]
    pub software_version: NotActedUpon,
}

impl Metadata {
    /// The members that are there and do nothing, for a warning at start-up.
    pub(crate) fn not_acted_upon(&self) -> Vec<&'static str> {
        macro_rules! named {
            ($($member:ident)+) => { [$((stringify!($member), &self.$member)),+] };
        }
        named!(
            jwks_uri sector_identifier_uri
            id_token_encrypted_response_alg id_token_encrypted_response_enc
            userinfo_signed_response_alg userinfo_encrypted_response_alg userinfo_encrypted_response_enc
            request_object_signing_alg request_object_encryption_alg request_object_encryption_enc
            default_acr_values initiate_login_uri request_uris
            frontchannel_logout_uri frontchannel_logout_session_required
            backchannel_logout_uri backchannel_logout_session_required
            software_id software_version
        )
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|_| name))
        .collect()
    }
}

macro_rules! wire_enum {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$doc])* #[serde(rename = $wire)] $variant,)+ }

        impl $type {
            /// Every value: what the discovery document says and what is validated.
            pub const ALL: &'static [$type] = &[$($type::$variant,)+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $wire,)+ }
            }

            /// The value of this name on the wire.
            pub fn named(name: &str) -> Option<$type> {
                match name { $($wire => Some($type::$variant),)+ _ => None }
            }
        }
    };
}

wire_enum! {
    /// RFC 7591 §2 "grant_types".
    GrantType {
        /// RFC 6749 §4.1.
        AuthorizationCode = "authorization_code",
        /// RFC 6749 §6.
        RefreshToken = "refresh_token",
        /// RFC 6749 §4.4.
        ClientCredentials = "client_credentials",
    }
}

wire_enum! {
    /// RFC 7591 §2 "response_types".
    ResponseType {
        /// RFC 6749 §4.1.1.
        Code = "code",
    }
}

wire_enum! {
    /// OAuth Response Modes §2.1, Form Post §2.
    ResponseMode {
        /// In the query of the redirect URI.
        Query = "query",
        /// In its fragment.
        Fragment = "fragment",
        /// In a form that the browser posts.
        FormPost = "form_post",
    }
}

wire_enum! {
    /// OpenID Connect Core §9.
    AuthenticationMethod {
        /// HTTP Basic.
        ClientSecretBasic = "client_secret_basic",
        /// In the body.
        ClientSecretPost = "client_secret_post",
        /// RFC 7523 §2.2.
        PrivateKeyJwt = "private_key_jwt",
        /// A public client.
        None = "none",
    }
}

wire_enum! {
    /// OpenID Connect Registration §2.
    ApplicationType {
        /// https redirect URIs, or http on a literal loopback address.
        Web = "web",
        /// RFC 8252.
        Native = "native",
    }
}

wire_enum! {
    /// OpenID Connect Core §8.
    SubjectType {
        /// The same "sub" for every client.
        Public = "public",
    }
}

wire_enum! {
    /// Whether the person is asked.
    ConsentMode {
        /// Asked, and remembered.
        Explicit = "explicit",
        /// For clients of the operator's own: asked only with prompt=consent.
        Implicit = "implicit",
    }
}

wire_enum! {
    /// What an access token looks like.
    AccessTokenFormat {
        /// A random reference.
        Opaque = "opaque",
        /// RFC 9068.
        Jwt = "jwt",
    }
}
