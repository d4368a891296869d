//! Client assertions (RFC 7523 §2.2 and §3): a JWT that the client signed, verified by the key-service, used once.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{AssertionAudience, Authentication, Client, methods};
use crate::error::{Code, Failure, Refusal};
use crate::jose::alg::Algorithm;
use crate::jose::jwt::numeric_date;
use crate::keys::Expected;
use crate::provider::Provider;
use crate::store::{Key, Write};

/// RFC 7523 §2.2.
pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Clocks differ by this much at the most, in seconds.
const SKEW: i64 = 10;
/// An assertion is made for one request: it needs no longer, in seconds (CA-05).
const LONGEST: i64 = 300;

const REFUSED: Refusal = Refusal::new(Code::InvalidClient, "the client assertion was refused");

/// Verifies an assertion and spends its jti.
pub(super) async fn verify(
    provider: &Provider,
    request_id: &str,
    assertion: &str,
    client: &Client,
    registered: &Authentication,
) -> Result<(), Failure> {
    let rules = Rules {
        client_id: &client.id,
        audience: client.assertion_audience,
    };
    let expected = Expected {
        typ: &["", "JWT", "client-authentication+jwt"],
        algorithms: &algorithms(provider, registered),
    };
    let verified = client
        .verify(provider, request_id, assertion, &expected)
        .await?
        .ok_or(REFUSED)?;
    let now = provider.clock.now();
    let claims = &verified.claims;
    let accepted = Accepted {
        issuer: &provider.issuer,
        token_endpoint: &provider.url("/token"),
        now,
    };
    let (jti, expires) = check(claims, &rules, &accepted).ok_or(REFUSED)?;
    // RFC 7523 §3 (7): the same assertion works once, on whichever replica. Kept past its end by the skew.
    let lives = u64::try_from(expires - now + SKEW + 1).unwrap_or(1);
    let spent = Write {
        key: Key::assertion(rules.client_id, jti),
        value: Bytes::from_static(b"1"),
        lives: Duration::from_secs(lives),
    };
    if provider.store.put_new(&spent).await? {
        Ok(())
    } else {
        Err(REFUSED.into())
    }
}

/// What the client registered, else what is supported and goes with its method.
fn algorithms<'a>(provider: &'a Provider, registered: &'a Authentication) -> Cow<'a, [Algorithm]> {
    let possible = methods::algorithms(registered.method);
    let discovery = &provider.config.discovery;
    let listed = &discovery.token_endpoint_auth_signing_alg_values_supported;
    match (&registered.signing_alg, listed) {
        (Some(one), _) => Cow::Borrowed(std::slice::from_ref(one)),
        (None, None) => Cow::Borrowed(possible),
        (None, Some(listed)) => {
            let possible = possible.iter().copied();
            Cow::Owned(possible.filter(|each| listed.contains(each)).collect())
        }
    }
}

/// What its claims are held against.
struct Rules<'a> {
    client_id: &'a str,
    audience: AssertionAudience,
}

struct Accepted<'a> {
    issuer: &'a str,
    token_endpoint: &'a str,
    now: i64,
}

/// RFC 7523 §3: the jti and the exp of claims that are as they must be.
fn check<'c>(
    claims: &'c Map<String, Value>,
    rules: &Rules<'_>,
    accepted: &Accepted<'_>,
) -> Option<(&'c str, i64)> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(rules.client_id) || text("sub") != Some(rules.client_id) {
        return None;
    }
    let is_us = |audience: &Value| audience.as_str() == Some(accepted.issuer);
    let is_us_or_token =
        |audience: &Value| is_us(audience) || audience.as_str() == Some(accepted.token_endpoint);
    let for_us = match (rules.audience, claims.get("aud")?) {
        (AssertionAudience::IssuerAlone, audience) => is_us(audience),
        (AssertionAudience::TokenEndpointToo, Value::Array(list)) => {
            list.iter().all(Value::is_string) && list.iter().any(is_us_or_token)
        }
        (AssertionAudience::TokenEndpointToo, audience) => is_us_or_token(audience),
    };
    if !for_us {
        return None;
    }
    let now = accepted.now;
    let expires = numeric_date(claims, "exp").ok()??;
    let issued = numeric_date(claims, "iat").ok()?;
    let not_before = numeric_date(claims, "nbf").ok()?;
    let in_time = expires > now - SKEW
        && expires <= now + LONGEST + SKEW
        && issued.is_none_or(|issued| issued <= now + SKEW)
        && not_before.is_none_or(|not_before| not_before <= now + SKEW);
    let jti = text("jti").filter(|jti| !jti.is_empty() && jti.len() <= 256)?;
    in_time.then_some((jti, expires))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_of_an_assertion() {
        let good = json!({"iss":"c","sub":"c","aud":"https://op","exp":1060,"iat":1000,"jti":"x"});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let rows = [
            ("as it should be", good.clone(), true, true),
            ("no iat", with("iat", Value::Null), false, false),
            ("another iss", with("iss", json!("d")), false, false),
            ("another sub", with("sub", json!("d")), false, false),
            (
                "the token endpoint",
                with("aud", json!("https://op/token")),
                false,
                true,
            ),
            ("a list", with("aud", json!(["https://op"])), false, true),
            (
                "a list with others",
                with("aud", json!(["https://op", 7])),
                false,
                false,
            ),
            (
                "a slash more",
                with("aud", json!("https://op/")),
                false,
                false,
            ),
            ("no aud", with("aud", Value::Null), false, false),
            ("exp as a string", with("exp", json!("1060")), false, false),
            ("exp over", with("exp", json!(980)), false, false),
            ("exp too far", with("exp", json!(1400)), false, false),
            (
                "exp as a fraction",
                with("exp", json!(1060.5)),
                false,
                false,
            ),
            ("iat in the future", with("iat", json!(1100)), false, false),
            ("nbf in the future", with("nbf", json!(1100)), false, false),
            ("no jti", with("jti", json!("")), false, false),
        ];
        for (row, claims, strict, lenient) in rows {
            for (audience, wanted) in [
                (AssertionAudience::IssuerAlone, strict),
                (AssertionAudience::TokenEndpointToo, lenient),
            ] {
                let rules = Rules {
                    client_id: "c",
                    audience,
                };
                let accepted = Accepted {
                    issuer: "https://op",
                    token_endpoint: "https://op/token",
                    now: 1000,
                };
                let claims = claims.as_object().expect("an object");
                assert_eq!(check(claims, &rules, &accepted).is_some(), wanted, "{row}");
            }
        }
    }
}
