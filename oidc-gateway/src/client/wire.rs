//! The words of client metadata (RFC 7591 §2, OpenID Connect Registration §2) that are one of a few: each is spelled
//! here and nowhere else. The discovery document lists them, registration and requests are held against them.

use std::fmt;

use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::jose::alg::Algorithm;
use crate::json::wire_enum;

wire_enum! {
    /// RFC 7591 §2 "grant_types".
    GrantType {
        /// RFC 6749 §4.1.
        AuthorizationCode = "authorization_code",
        /// RFC 6749 §4.2, OpenID Connect Core §3.2: whatever the authorization endpoint itself gives.
        Implicit = "implicit",
        /// RFC 6749 §6.
        RefreshToken = "refresh_token",
        /// RFC 6749 §4.4.
        ClientCredentials = "client_credentials",
    }
}

/// RFC 7591 §2 "response_types", OAuth 2.0 Multiple Response Types. The order of their words says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseType {
    /// RFC 6749 §4.1.1.
    Code,
    /// OpenID Connect Core §3.2.
    IdToken,
    /// OpenID Connect Core §3.2.
    IdTokenToken,
    /// OpenID Connect Core §3.3.
    CodeIdToken,
    /// OpenID Connect Core §3.3.
    CodeToken,
    /// OpenID Connect Core §3.3.
    CodeIdTokenToken,
    /// RFC 6749 §4.2.1.
    Token,
    /// Multiple Response Types §4: nothing but that it went well.
    None,
}

impl ResponseType {
    /// Every one.
    pub const ALL: &'static [ResponseType] = &[
        ResponseType::Code,
        ResponseType::IdToken,
        ResponseType::IdTokenToken,
        ResponseType::CodeIdToken,
        ResponseType::CodeToken,
        ResponseType::CodeIdTokenToken,
        ResponseType::Token,
        ResponseType::None,
    ];

    /// The words on the wire, in the order in which the specifications write them.
    pub fn as_str(self) -> &'static str {
        match self {
            ResponseType::Code => "code",
            ResponseType::IdToken => "id_token",
            ResponseType::IdTokenToken => "id_token token",
            ResponseType::CodeIdToken => "code id_token",
            ResponseType::CodeToken => "code token",
            ResponseType::CodeIdTokenToken => "code id_token token",
            ResponseType::Token => "token",
            ResponseType::None => "none",
        }
    }

    /// The one with these words, in whatever order, each once.
    pub fn named(words: &str) -> Option<ResponseType> {
        let words: Vec<&str> = words.split(' ').collect();
        let same = |each: &&ResponseType| {
            let own = each.as_str();
            own.split(' ').count() == words.len()
                && own.split(' ').all(|word| words.contains(&word))
        };
        ResponseType::ALL.iter().find(same).copied()
    }

    /// Whether the answer has a code.
    pub fn has_code(self) -> bool {
        self.has("code")
    }

    /// Whether the answer has an ID token.
    pub fn has_id_token(self) -> bool {
        self.has("id_token")
    }

    /// Whether the answer has an access token.
    pub fn has_token(self) -> bool {
        self.has("token")
    }

    /// Whether the answer has a token of either kind: it comes by the grant type `implicit`, and never in a query.
    pub fn is_front_channel(self) -> bool {
        self.has_token() || self.has_id_token()
    }

    fn has(self, word: &str) -> bool {
        self.as_str().split(' ').any(|each| each == word)
    }
}

impl Serialize for ResponseType {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ResponseType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ResponseType, D::Error> {
        named(from, ResponseType::named, "a response type")
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
        /// RFC 7523 §2.2, with the secret as the key.
        ClientSecretJwt = "client_secret_jwt",
        /// RFC 7523 §2.2.
        PrivateKeyJwt = "private_key_jwt",
        /// A public client.
        None = "none",
    }
}

impl AuthenticationMethod {
    /// Whether it takes a secret.
    pub(crate) fn needs_secret(self) -> bool {
        use AuthenticationMethod::{ClientSecretBasic, ClientSecretJwt, ClientSecretPost};
        matches!(self, ClientSecretBasic | ClientSecretPost | ClientSecretJwt)
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
        /// Another "sub" for each sector.
        Pairwise = "pairwise",
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

/// Whether something is signed: `none`, or how (OpenID Connect Registration §2 "userinfo_signed_response_alg").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// `none`.
    None,
    /// By this algorithm.
    By(Algorithm),
}

impl<'de> Deserialize<'de> for Signing {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Signing, D::Error> {
        let parse = |name: &str| match name {
            "none" => Some(Signing::None),
            other => Algorithm::named(other).map(Signing::By),
        };
        named(from, parse, "a JWS algorithm, or none")
    }
}

fn named<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<T, D::Error> {
    struct Named<P>(P, &'static str);
    impl<P: Fn(&str) -> Option<T>, T> de::Visitor<'_> for Named<P> {
        type Value = T;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.1)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let unknown = || E::invalid_value(de::Unexpected::Str(text), &self.1);
            (self.0)(text).ok_or_else(unknown)
        }
    }
    from.deserialize_str(Named(parse, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_response_type_in_any_order() {
        let rows = [
            ("code", Some(ResponseType::Code)),
            ("token id_token", Some(ResponseType::IdTokenToken)),
            ("token code id_token", Some(ResponseType::CodeIdTokenToken)),
            ("id_token code", Some(ResponseType::CodeIdToken)),
            ("none", Some(ResponseType::None)),
            ("code code", None),
            ("code none", None),
            ("code  id_token", None),
            (" code", None),
            ("CODE", None),
            ("", None),
        ];
        for (words, expected) in rows {
            assert_eq!(ResponseType::named(words), expected, "{words}");
        }
    }

    #[test]
    fn what_comes_through_the_front_channel() {
        for each in ResponseType::ALL {
            let words: Vec<&str> = each.as_str().split(' ').collect();
            assert_eq!(each.has_code(), words.contains(&"code"));
            assert_eq!(each.has_token(), words.contains(&"token"));
            assert_eq!(each.has_id_token(), words.contains(&"id_token"));
        }
    }
}
