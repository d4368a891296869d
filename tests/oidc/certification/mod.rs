//! P-2: the eleven profiles of a certified OpenID Provider, looked at as the certification looks at them: a relying party
//! that nobody knows registers itself at the profile `certification`, over TLS, serves its own keys and request objects,
//! and verifies and decrypts with other libraries than ours. Each row begins with the profile and the module that it
//! stands for; the ids of the feature list (`tests/tidy/features.tsv`) follow.

mod answers;
mod basic;
mod browser;
mod config;
mod dynamic;
mod logout;
mod protection;
mod reauthentication;
mod refusals;
mod relying_party;
mod request_object;
pub(crate) mod server;

use std::sync::OnceLock;

use crate::person::Person;
use crate::stack::{self, Options, Stack};

/// The six response types of OpenID Connect with the profile that each belongs to.
const RESPONSE_TYPES: [(&str, &str); 6] = [
    // S2-1, S2-6.
    ("Basic", "code"),
    // S2-2, S2-7, S2-8, S4-3.
    ("Implicit", "id_token"),
    ("Implicit", "id_token token"),
    // S2-3, S2-9 to S2-11.
    ("Hybrid", "code id_token"),
    ("Hybrid", "code token"),
    ("Hybrid", "code id_token token"),
];

/// The provider as the profile has it, which all these tests share.
fn provider() -> &'static Stack {
    static PROVIDER: OnceLock<Stack> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        stack::start(&Options {
            // The keys are in a token.
            backend: "softhsm",
            tls: "1",
            profile: "certification",
            host: "op.test",
            extra_ca: Some(server::authority()),
            ..Options::default()
        })
    })
}

/// The person of the profile, at a new browser.
fn alice() -> Person {
    Person {
        username: "alice".to_owned(),
        password: "alice-password",
        ..Person::new(&provider().site(), 0)
    }
}

/// Says which row runs: the harness shows it when the test fails.
#[expect(clippy::print_stdout, reason = "the row is the message")]
fn row(profile: &str, response_type: &str, module: &str) {
    println!("{profile} ({response_type}) {module}");
}
