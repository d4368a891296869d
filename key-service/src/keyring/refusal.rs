//! Why the claims firewall says no. The rule's name is what a caller is told; which claim it was and which of the
//! configured rules said so is for the operator's log.

use std::fmt;

use super::policy::names;

/// How much of a claim's name is told, in characters: it is the caller's.
const SHOWN: usize = 64;

names! {
    /// Why the firewall said no. The name is what the caller is told.
    Rule {
        /// The ring does not sign JWTs of this profile, or not for this caller.
        Profile = "profile",
        /// The claims are longer than the configured size.
        Size = "size",
        /// `iss` is not ours.
        Issuer = "issuer",
        /// A claim that the profile or a configured rule requires is absent.
        Required = "claims.required",
        /// A claim is there that the profile or a configured rule forbids.
        Forbidden = "claims.forbidden",
        /// A claim is there that a configured rule does not name.
        Allowed = "claims.allowed",
        /// A registered claim is not of its type: times are whole numbers, names are not empty.
        Type = "claims.type",
        /// `aud` names somebody whom a configured rule does not, or nobody.
        Audience = "audience",
        /// `iat` is too far from our clock.
        IssuedAt = "iat",
        /// `exp` has passed.
        Expired = "exp",
        /// `exp − iat` is longer than a token may live.
        Lifetime = "lifetime",
        /// Something else was signed for this `once_key`.
        Once = "once",
        /// The ring does not make MACs of this purpose.
        Purpose = "purpose",
        /// A shared secret is shorter than its algorithm demands.
        SecretLength = "secret.length",
    }
}

/// A rule that was broken, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    rule: Rule,
    /// Escaped, and not long.
    claim: Option<Box<str>>,
    /// Which of `[[policy.rules]]`, counted from 1.
    number: Option<usize>,
}

impl Rule {
    /// Broken by this claim.
    pub(super) fn by(self, claim: &str) -> Refusal {
        // A log that is read as text must not be written by a caller.
        let shown: String = claim.chars().take(SHOWN).collect();
        Refusal {
            claim: Some(shown.escape_default().to_string().into()),
            ..Refusal::from(self)
        }
    }
}

impl Refusal {
    /// What the caller is told.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Of the `[[policy.rules]]` with this number.
    pub(super) fn of(mut self, number: usize) -> Refusal {
        self.number = Some(number);
        self
    }
}

impl From<Rule> for Refusal {
    fn from(rule: Rule) -> Refusal {
        Refusal {
            rule,
            claim: None,
            number: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule.as_str())?;
        if let Some(number) = self.number {
            write!(f, " of [[policy.rules]] {number}")?;
        }
        if let Some(claim) = &self.claim {
            write!(f, ", claim \"{claim}\"")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_writes_no_lines_of_the_log() {
        let long = "x".repeat(1000);
        for (refusal, shown) in [
            (Rule::Issuer.into(), "issuer".to_owned()),
            (
                Rule::Required.by("jti"),
                "claims.required, claim \"jti\"".to_owned(),
            ),
            (
                Rule::Allowed.by("act").of(2),
                "claims.allowed of [[policy.rules]] 2, claim \"act\"".to_owned(),
            ),
            (
                Rule::Allowed.by("a\n{\"level\":\"INFO\u{1b}[2K\u{202e}"),
                "claims.allowed, claim \"a\\n{\\\"level\\\":\\\"INFO\\u{1b}[2K\\u{202e}\""
                    .to_owned(),
            ),
            (
                Rule::Forbidden.by(&long),
                format!("claims.forbidden, claim \"{}\"", &long[..SHOWN]),
            ),
        ] {
            assert_eq!(refusal.to_string(), shown);
        }
    }
}
