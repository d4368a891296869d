//! The ID token (OpenID Connect Core §2): who signed in, when and how. Claims about the person are for userinfo.

use proto::v1::Profile;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{IdToken, Order};
use crate::clock::seconds;
use crate::error::{Code, Failure, Refusal};
use crate::jose::alg::Algorithm;
use crate::json;
use crate::keys::{Expected, Item, VerificationKey};
use crate::provider::Provider;

/// The purpose of the rings that sign it.
pub(crate) const PURPOSE: &str = "id-token";

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'a str,
    amr: &'a [String],
    azp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_hash: Option<String>,
}

/// What is to be signed. `opaque`: the access token beside it, unless that one is signed in the same call.
pub(super) fn item(provider: &Provider, order: &Order<'_>, opaque: Option<&str>) -> Option<Item> {
    let algorithm = order.client.id_token_algorithm;
    let (nonce, is_first) = match order.id_token {
        IdToken::First { nonce } => (nonce, true),
        _ => (None, false),
    };
    let grant = order.grant;
    let signed_in = grant.signed_in.as_ref()?;
    let claims = Claims {
        iss: &provider.issuer,
        sub: &grant.sub,
        aud: &grant.client_id,
        exp: order.now + seconds(provider.config.tokens.id_token),
        iat: order.now,
        auth_time: signed_in.auth_time,
        nonce,
        acr: &signed_in.acr,
        amr: &signed_in.amr,
        azp: &grant.client_id,
        at_hash: opaque
            .filter(|_| is_first)
            .map(|token| algorithm.left_half_hash(token)),
    };
    Some(Item {
        profile: Profile::IdToken,
        purpose: PURPOSE,
        algorithm,
        claims: json::write(&claims),
        // The access token is the item before this one.
        hash_of: (is_first && opaque.is_none()).then_some(("at_hash", 0)),
    })
}

/// A hint longer than this is none of ours: octets.
const LONGEST_HINT: usize = 16 * 1024;

/// Whom and which client an ID token of ours names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) subject: String,
    pub(crate) client_id: String,
}

impl Hint {
    /// Verifies an `id_token_hint` (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2). It may have expired.
    pub(crate) async fn parse(
        provider: &Provider,
        request_id: &str,
        hint: &str,
    ) -> Result<Result<Hint, Refusal>, Failure> {
        const REFUSED: Refusal = Refusal::new(
            Code::InvalidRequest,
            "id_token_hint is not an ID token of this provider",
        );
        if hint.len() > LONGEST_HINT {
            return Ok(Err(REFUSED));
        }
        let expected = Expected {
            typ: &["JWT"],
            algorithms: Algorithm::ALL,
        };
        let key = VerificationKey::Own(PURPOSE);
        let verified = provider
            .keys
            .verify(request_id, hint, &expected, key)
            .await?;
        let hint = verified.and_then(|verified| Hint::of(&verified.claims, &provider.issuer));
        Ok(hint.ok_or(REFUSED))
    }

    fn of(claims: &Map<String, Value>, issuer: &str) -> Option<Hint> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        (text("iss")? == issuer).then_some(Hint {
            subject: text("sub")?.to_owned(),
            client_id: text("aud")?.to_owned(),
        })
    }
}
