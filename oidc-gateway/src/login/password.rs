//! The first step: a name and a password. Whatever is wrong about them, the answer and its time are the same (BR-14).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Authenticated;
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::password::Passwords;
use crate::provider::Provider;
use crate::user::Directory;

/// `acr` of a sign-in with a password alone: one factor (OpenID Connect Core §2; "0" would be less than that).
pub(crate) const ACR: &str = "1";

/// What somebody presents.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    /// Where the request comes from.
    pub(crate) address: IpAddr,
    /// For the log.
    pub(crate) request_id: &'a str,
}

/// Why nobody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such user, or not with this password, or the user is disabled.
    Wrong,
    /// Too many attempts; wait so long.
    Throttled(Duration),
    /// Too many passwords are being verified. Nothing was counted.
    Busy,
}

/// Signs somebody in, or not; both are counted and logged, without what was typed.
pub(crate) async fn verify(
    provider: &Provider,
    attempt: &Attempt<'_>,
) -> Result<Authenticated, Refused> {
    let step = Step {
        users: &provider.users,
        passwords: &provider.passwords,
        throttle: &provider.throttle,
        clock: &provider.clock,
    };
    let outcome = step.verify(attempt).await;
    let (request_id, address) = (attempt.request_id, attempt.address);
    match &outcome {
        Ok(authenticated) => {
            provider.metrics.login_succeeded();
            let subject = &authenticated.user.subject;
            tracing::info!(request_id, %address, subject, "signed in");
        }
        Err(reason) => {
            provider.metrics.login_failed();
            tracing::info!(request_id, %address, ?reason, "not signed in");
        }
    }
    outcome
}

struct Step<'a> {
    users: &'a Directory,
    passwords: &'a Passwords,
    throttle: &'a Throttle,
    clock: &'a Clock,
}

impl Step<'_> {
    async fn verify(&self, attempt: &Attempt<'_>) -> Result<Authenticated, Refused> {
        let permitted = self
            .throttle
            .permit(attempt.username, attempt.address)
            .map_err(Refused::Throttled)?;
        let user = self.users.by_username(attempt.username);
        let hash = user.map(|user| &user.password_hash);
        let Ok(is_right) = self.passwords.verify(hash, attempt.password).await else {
            permitted.withdrawn();
            return Err(Refused::Busy);
        };
        match user {
            Some(user) if is_right && !user.disabled => {
                permitted.succeeded();
                Ok(Authenticated {
                    user: Arc::clone(user),
                    acr: ACR,
                    amr: &["pwd"],
                    auth_time: self.clock.now(),
                })
            }
            _ => Err(Refused::Wrong),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use super::*;
    use crate::password::PasswordHash;
    use crate::random::Random;
    use crate::secret::Secret;
    use crate::user::Entry;

    #[tokio::test]
    async fn attempts() {
        let random = Random::new().unwrap();
        let entry = |username: &str, disabled| Entry {
            subject: None,
            username: username.to_owned(),
            password_hash: Secret::new(
                PasswordHash::of_password("right", &random)
                    .as_str()
                    .to_owned(),
            ),
            disabled,
            claims: Map::new(),
            emails: BTreeMap::new(),
            phones: BTreeMap::new(),
        };
        let entries = vec![entry("ada", false), entry("bob", true)];
        let step = Step {
            users: &Directory::of(entries).unwrap(),
            passwords: &Passwords::new(&random),
            throttle: &Throttle::on(),
            clock: &Clock::system(),
        };
        let attempt = |username, password| Attempt {
            username,
            password,
            address: IpAddr::from([192, 0, 2, 1]),
            request_id: "",
        };
        for (username, password, expected) in [
            ("ada", "right", Ok("ada")),
            ("ada", "wrong", Err(Refused::Wrong)),
            ("ada", "", Err(Refused::Wrong)),
            ("Ada", "right", Err(Refused::Wrong)),
            ("bob", "right", Err(Refused::Wrong)),
            ("nobody", "right", Err(Refused::Wrong)),
        ] {
            let outcome = step.verify(&attempt(username, password)).await;
            let subject = outcome.as_ref().map(|done| done.user.subject.as_str());
            assert_eq!(subject, expected.as_ref().copied(), "{username} {password}");
            if let Ok(done) = outcome {
                assert_eq!(done.amr, ["pwd"]);
                assert!((step.clock.now() - done.auth_time).abs() < 5);
            }
        }
        for _ in 0..5 {
            let _ = step.verify(&attempt("ada", "wrong")).await;
        }
        let outcome = step.verify(&attempt("ada", "right")).await;
        assert!(matches!(outcome, Err(Refused::Throttled(_))), "{outcome:?}");
    }
}
