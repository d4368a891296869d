//! KS-14: a store that has forgotten that a code was spent, as a failover to a replica that lags does (RFC 6749 §4.1.2,
//! §10.5). Where the key-service is asked to sign once for each code, it gives nothing for the second time.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use crate::client::Client;
use crate::person::Person;
use crate::registration::{JWT_RS, POST, WEB};
use crate::secrets::folder;
use crate::stack::{self, Options, Stack};

const INVALID: &str = "400 invalid_grant";

/// Commands of simple words, each answered by a number.
fn redis(stack: &Stack, commands: &[String]) {
    let text = fs::read_to_string(folder(stack).join("gateway0.toml")).unwrap();
    let settings: toml::Table = text.parse().unwrap();
    let url = settings["store"]["url"].as_str().unwrap();
    let mut stream = TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for command in commands {
        write!(stream, "{command}\r\n").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, ":1\r\n", "{command}");
    }
}

/// What the second request gets with a code that the store has as it was before the first.
async fn again(stack: &Stack, person: &mut Person, client: &Client) -> String {
    let code = person.code(client, "openid offline_access").await;
    let (tag, _) = code.split_once('.').unwrap();
    let (issued, spent, copy) = (
        format!("o:{{{tag}}}"),
        format!("g:{{{tag}}}"),
        format!("copy:{{{tag}}}"),
    );
    redis(stack, &[format!("COPY {issued} {copy}")]);
    let first = client.redeem(&person.site, &code).await;
    assert_eq!(first.outcome(), "200", "{}", first.text());
    redis(
        stack,
        &[format!("DEL {spent}"), format!("COPY {copy} {issued}")],
    );
    // Another second, so that no claims are the same by chance.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client.redeem(&person.site, &code).await.outcome()
}

#[tokio::test]
async fn a_code_is_good_once_whatever_the_store_remembers() {
    for (tables, second) in [("", "200"), ("[tokens]\nsign_codes_once = true\n", INVALID)] {
        let stack = stack::start(&Options {
            tables,
            ..Options::default()
        });
        let site = stack.site();
        let mut person = Person::new(&site, 0);
        // An ID token beside an opaque access token, and both signed.
        for client in [WEB, JWT_RS, POST] {
            let outcome = again(&stack, &mut person, &client).await;
            assert_eq!(outcome, second, "{} {tables}", client.id);
        }
        // And nothing else changes.
        let tokens = WEB.tokens(&mut person, "openid offline_access").await;
        let refresh_token = tokens["refresh_token"].as_str().unwrap();
        assert_eq!(WEB.refresh(&site, refresh_token).await.outcome(), "200");
        let said = stack
            .log("gateway0")
            .contains("something else for this code");
        assert_eq!(said, second == INVALID);
    }
}
