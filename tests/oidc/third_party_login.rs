//! S2-U5, S4-11: a sign-in that begins here (OpenID Connect Core §4): the browser is sent to the client's
//! `initiate_login_uri`, which comes back with a request of its own.

use crate::page::Page;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{DISABLED, LEAVING, WEB};
use crate::stack;

#[tokio::test]
async fn where_it_goes() {
    let site = stack::shared().site();
    let begin = "https://leaving.example/begin?from=op";
    let with = |more: &[(&str, &str)]| Params::of(&[("client_id", LEAVING.id)]).with(more);
    let target = "https://leaving.example/deep?a=b&c";
    let long = "x".repeat(2049);
    #[rustfmt::skip]
    let rows = [
        ("S2-U5 the client alone", with(&[]), Ok(vec![])),
        ("S4-11 with a target", with(&[("target_link_uri", target)]), Ok(vec![("target_link_uri", target)])),
        ("S4-11 with a hint", with(&[("login_hint", "ada")]), Ok(vec![("login_hint", "ada")])),
        ("S4-11 both", with(&[("login_hint", "ada"), ("target_link_uri", target)]), Ok(vec![("login_hint", "ada"), ("target_link_uri", target)])),
        ("S4-11 something else", with(&[("redirect", "https://evil.test"), ("iss", "https://evil.test")]), Ok(vec![])),
        ("S4-11 a client without", Params::of(&[("client_id", WEB.id)]), Err("The application cannot be started from here.")),
        ("S4-11 an unknown client", Params::of(&[("client_id", "nobody")]), Err("The application is not known here.")),
        ("S4-11 a disabled client", Params::of(&[("client_id", DISABLED.id)]), Err("The application is not known here.")),
        ("S4-11 twice", with(&[]).and("client_id", "web"), Err("a parameter is repeated")),
        ("S4-11 too long", with(&[("login_hint", &long)]), Err("A parameter is too long.")),
    ];
    for (row, query, expected) in rows {
        let answer = site.get(&format!("/initiate?{}", query.encode())).await;
        match expected {
            Ok(more) => {
                assert_eq!(answer.status, 303, "{row}: {}", answer.text());
                let location = answer.header("location");
                let told = location.strip_prefix(&format!("{begin}&")).unwrap();
                let expected = Params::of(&[("iss", site.issuer())]).with(&more);
                assert_eq!(Params::decode(told), expected, "{row}");
                assert_eq!(answer.header("referrer-policy"), "no-referrer", "{row}");
            }
            Err(words) => {
                assert_eq!(answer.status, 400, "{row}");
                assert_eq!(answer.header("location"), "", "{row}");
                assert!(answer.text().contains(words), "{row}: {}", answer.text());
                assert!(!answer.text().contains("evil.test"), "{row}");
            }
        }
    }
}

/// The page of those that can be started, in several languages; linked from where a logout ends.
#[tokio::test]
async fn the_applications() {
    let site = stack::shared().site();
    for (locale, heading) in [
        ("", "Applications"),
        ("de", "Anwendungen"),
        ("fr-CH", "Applications"),
    ] {
        let answer = site.get(&format!("/initiate?ui_locales={locale}")).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "S4-11 {text}");
        assert_eq!(Page::parse(&text).heading, heading, "S4-11 {locale}");
        assert!(text.contains("The client leaving"), "S4-11 {text}");
        assert!(text.contains("/initiate?client_id=leaving"), "S4-11 {text}");
        assert!(!text.contains("client_id=web"), "S4-11 {text}");
    }
    let goodbye = Person::new(&site, 57).open("/logout").await;
    assert!(goodbye.text().contains("id=\"applications\""));
}
