//! Whether the algorithms of what a client gets and sends go together with its keys (OpenID Connect Registration §2):
//! nothing is encrypted to a key that is not there.

use super::jwks::{self, ClientKeys};
use super::metadata::{AccessTokenFormat, Metadata, Signing};
use super::{AccessToken, RequestObjectRules, Wrong};
use crate::jose::alg::{Algorithm, ContentEncryption, Encryption, KeyManagement, Protection};

pub(super) fn keys(metadata: &Metadata) -> Result<ClientKeys, Wrong> {
    match (&metadata.jwks, &metadata.jwks_uri) {
        (Some(_), Some(_)) => Err(Wrong::new("jwks", "give either jwks or jwks_uri")),
        (Some(jwks), None) => jwks::by_value(jwks).map_err(|why| Wrong::new("jwks", why)),
        (None, Some(uri)) => Ok(ClientKeys::ByReference(uri.as_str().into())),
        (None, None) => Ok(ClientKeys::None),
    }
}

pub(super) fn id_token(metadata: &Metadata, keys: &ClientKeys) -> Result<Protection, Wrong> {
    Ok(Protection {
        signed: Some(
            metadata
                .id_token_signed_response_alg
                .unwrap_or(Algorithm::RS256),
        ),
        encrypted: encryption(
            metadata,
            keys,
            (
                "id_token_encrypted_response_alg",
                metadata.id_token_encrypted_response_alg,
            ),
            (
                "id_token_encrypted_response_enc",
                metadata.id_token_encrypted_response_enc,
            ),
        )?,
    })
}

pub(super) fn userinfo(metadata: &Metadata, keys: &ClientKeys) -> Result<Protection, Wrong> {
    let signed = match metadata.userinfo_signed_response_alg {
        Some(Signing::By(algorithm)) => Some(algorithm),
        Some(Signing::None) | None => None,
    };
    let encrypted = encryption(
        metadata,
        keys,
        (
            "userinfo_encrypted_response_alg",
            metadata.userinfo_encrypted_response_alg,
        ),
        (
            "userinfo_encrypted_response_enc",
            metadata.userinfo_encrypted_response_enc,
        ),
    )?;
    if encrypted.is_some()
        && signed.is_none()
        && metadata.allow_unsigned_userinfo_encryption != Some(true)
    {
        return Err(Wrong::new(
            "userinfo_signed_response_alg",
            "is missing: what is encrypted is signed first, unless allow_unsigned_userinfo_encryption is set",
        ));
    }
    Ok(Protection { signed, encrypted })
}

fn encryption(
    metadata: &Metadata,
    keys: &ClientKeys,
    (alg_member, alg): (&'static str, Option<KeyManagement>),
    (enc_member, enc): (&'static str, Option<ContentEncryption>),
) -> Result<Option<Encryption>, Wrong> {
    let Some(alg) = alg else {
        return match enc {
            None => Ok(None),
            Some(_) => Err(Wrong::new(enc_member, "needs the alg that goes with it")),
        };
    };
    if !alg.is_symmetric() {
        let types: &[&str] = match alg {
            KeyManagement::RsaOaep | KeyManagement::RsaOaep256 => &["RSA"],
            _ => &["EC", "OKP"],
        };
        let is_there = match (keys, &metadata.jwks) {
            (ClientKeys::None, _) => false,
            (ClientKeys::ByValue(_), Some(jwks)) => jwks::may_hold(jwks, types, "enc"),
            _ => true,
        };
        if !is_there {
            return Err(Wrong::new(
                alg_member,
                "needs a key for it in jwks, or jwks_uri",
            ));
        }
    }
    let enc = enc.unwrap_or(ContentEncryption::A128CbcHs256);
    Ok(Some(Encryption { alg, enc }))
}

pub(super) fn request_object(
    metadata: &Metadata,
    keys: &ClientKeys,
) -> Result<RequestObjectRules, Wrong> {
    let signing_alg = metadata.request_object_signing_alg;
    let needs_key = signing_alg.is_some_and(|algorithm| !algorithm.is_symmetric());
    if needs_key && keys.is_none() {
        return Err(Wrong::new(
            "request_object_signing_alg",
            "needs the client's public keys in jwks, or jwks_uri",
        ));
    }
    let encryption_alg = metadata.request_object_encryption_alg;
    if encryption_alg.is_some_and(KeyManagement::is_symmetric) {
        return Err(Wrong::new(
            "request_object_encryption_alg",
            "must be one for a public key of this provider",
        ));
    }
    if metadata.request_object_encryption_enc.is_some() && encryption_alg.is_none() {
        return Err(Wrong::new(
            "request_object_encryption_enc",
            "needs the alg that goes with it",
        ));
    }
    Ok(RequestObjectRules { signing_alg })
}

pub(super) fn access_token(metadata: &Metadata) -> Result<AccessToken, Wrong> {
    let algorithm = metadata.access_token_signed_response_alg;
    match metadata.access_token_format {
        None | Some(AccessTokenFormat::Opaque) if algorithm.is_some() => Err(Wrong::new(
            "access_token_signed_response_alg",
            "goes with access_token_format = \"jwt\"",
        )),
        None | Some(AccessTokenFormat::Opaque) => Ok(AccessToken::Opaque),
        // RFC 9068 §2.1: a resource server verifies it by the published keys.
        Some(AccessTokenFormat::Jwt) if algorithm.is_some_and(Algorithm::is_symmetric) => {
            Err(Wrong::new(
                "access_token_signed_response_alg",
                "must be one with a published key",
            ))
        }
        Some(AccessTokenFormat::Jwt) => Ok(AccessToken::Jwt(algorithm.unwrap_or(Algorithm::RS256))),
    }
}
