//! An ID token that comes back as `id_token_hint` (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2): whom it means.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{id_token, issuer};
use crate::error::{Code, Failure, Refusal};
use crate::jose::alg::Algorithm;
use crate::jose::jwt::{unverified_algorithm, unverified_audience};
use crate::keys::{Expected, VerificationKey, Verified};
use crate::provider::Provider;
use crate::user::subject;

/// A hint longer than this is none of ours: octets.
const LONGEST: usize = 16 * 1024;

const REFUSED: Refusal = Refusal::new(
    Code::InvalidRequest,
    "id_token_hint is not an ID token of this provider",
);

/// Whom and which client an ID token of ours names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hint {
    /// As the client knows the person: `is` says whether it is somebody.
    subject: String,
    pub(crate) client_id: String,
    /// The session that it was made in, if the client is told of such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    /// Whether its client could have made it just as well, for it is signed with the client's secret.
    #[serde(skip)]
    pub(crate) is_clients: bool,
}

impl Hint {
    /// Verifies a hint. It may have expired.
    pub(crate) async fn parse(
        provider: &Provider,
        request_id: &str,
        hint: &str,
    ) -> Result<Result<Hint, Refusal>, Failure> {
        if hint.len() > LONGEST {
            return Ok(Err(REFUSED));
        }
        let is_clients = unverified_algorithm(hint).is_some_and(Algorithm::is_symmetric);
        let verified = match is_clients {
            true => with_secret(provider, request_id, hint).await?,
            false => {
                let key = VerificationKey::Own(id_token::PURPOSE);
                let expected = Expected {
                    typ: &["JWT"],
                    algorithms: Algorithm::ASYMMETRIC,
                };
                let keys = &provider.keys;
                keys.verify(request_id, hint, &expected, key).await?
            }
        };
        let hint = verified.and_then(|verified| Hint::of(&verified.claims, issuer(provider)));
        let hint = hint.map(|hint| Hint { is_clients, ..hint });
        Ok(hint.ok_or(REFUSED))
    }

    fn of(claims: &Map<String, Value>, issuer: &str) -> Option<Hint> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // Userinfo is signed by the same keys and has the same typ, but no exp.
        (text("iss")? == issuer && claims.contains_key("exp")).then_some(Hint {
            subject: text("sub")?.to_owned(),
            client_id: text("aud")?.to_owned(),
            sid: text("sid").map(str::to_owned),
            is_clients: false,
        })
    }

    /// Whether it means this person: `local` is our own name of them (`User::subject`).
    pub(crate) async fn is(
        &self,
        provider: &Provider,
        request_id: &str,
        local: &str,
    ) -> Result<bool, Failure> {
        match provider.client(&self.client_id).await? {
            Some(client) => {
                let presented = [self.subject.as_str()];
                subject::matches(provider, request_id, &client, local, &presented).await
            }
            // Of a client that is gone, and cannot be asked for its sector.
            None => Ok(self.subject == local),
        }
    }
}

/// One that was signed with the secret of the client that it names. Whoever knows that secret can make one: it says no
/// more than the client could.
async fn with_secret(
    provider: &Provider,
    request_id: &str,
    hint: &str,
) -> Result<Option<Verified>, Failure> {
    let Some(client_id) = unverified_audience(hint) else {
        return Ok(None);
    };
    let Some(client) = provider.client(&client_id).await? else {
        return Ok(None);
    };
    // Only as it is registered, so that nobody chooses.
    let Some(algorithm) = client.id_token.signed.filter(|each| each.is_symmetric()) else {
        return Ok(None);
    };
    let secret = client.wrapped_secret(provider).await?;
    let expected = Expected {
        typ: &["JWT"],
        algorithms: &[algorithm],
    };
    let key = VerificationKey::Secret(&secret);
    Ok(provider
        .keys
        .verify(request_id, hint, &expected, key)
        .await?)
}
