//! RP-Initiated Logout 1.0: whom it signs out, where it sends them, and that a session is then dead everywhere. BR-08,
//! JO-17.

use crate::page::Page;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{BOUND, POST, WEB};
use crate::stack;

const BYE: &str = "https://rp.example/bye";
const BYE_QUERY: &str = "https://rp.example/bye?x=1";

struct SignedIn {
    person: Person,
    hint: String,
}

async fn signed_in(number: usize) -> SignedIn {
    let mut person = Person::new(&stack::shared().site(), number);
    let tokens = WEB.tokens(&mut person, "openid").await;
    SignedIn {
        person,
        hint: tokens["id_token"].as_str().unwrap().to_owned(),
    }
}

/// Whether the cookies of this browser still open a session, at any gateway.
async fn is_alive(person: &Person) -> bool {
    let mut alive = Vec::new();
    for gateway in 0..3 {
        let mut person = person.clone();
        person.site = person.site.at(gateway);
        let landing = person.authorize(&WEB.request().set("prompt", "none")).await;
        alive.push(landing.outcome() == "query code");
    }
    assert!(alive.iter().all(|each| *each == alive[0]), "{alive:?}");
    alive[0]
}

#[tokio::test]
async fn with_a_hint() {
    let sites = [("GET", false), ("POST", true)];
    for (method, post) in sites {
        #[rustfmt::skip]
        let rows = [
            ("bare", &[][..], None),
            ("redirect", &[("post_logout_redirect_uri", BYE)], Some(BYE.to_owned())),
            ("state", &[("post_logout_redirect_uri", BYE), ("state", "a&c\r\n")], Some(format!("{BYE}?state=a%26c%0D%0A"))),
            ("query", &[("post_logout_redirect_uri", BYE_QUERY), ("state", "s")], Some(format!("{BYE_QUERY}&state=s"))),
            ("client_id", &[("client_id", "web"), ("post_logout_redirect_uri", BYE)], Some(BYE.to_owned())),
            ("state alone", &[("state", "s")], None),
        ];
        for (row, more, location) in rows {
            let SignedIn { mut person, hint } = signed_in(45).await;
            let before = person.clone();
            assert!(is_alive(&before).await);
            let form = Params::of(more).and("id_token_hint", &hint).encode();
            let answer = match post {
                true => person.submit("/logout", &form).await,
                false => person.open(&format!("/logout?{form}")).await,
            };
            match location {
                Some(location) => assert_eq!(
                    (answer.status, answer.header("location")),
                    (303, location.as_str()),
                    "{method} {row}"
                ),
                None => assert_eq!(
                    Page::parse(&answer.text()).heading,
                    "You are logged out",
                    "{method} {row}"
                ),
            }
            assert_eq!(
                person.session(),
                "",
                "{method} {row}: the cookie is removed"
            );
            assert!(
                !is_alive(&before).await,
                "{method} {row}: and opens nothing"
            );
            // Once more: nobody is signed in, and that is no error.
            assert!(
                person.open(&format!("/logout?{form}")).await.status < 400,
                "{method} {row}"
            );
        }
    }
}

#[tokio::test]
async fn without_a_hint_the_person_is_asked() {
    let SignedIn { hint, .. } = signed_in(46).await;
    #[rustfmt::skip]
    let rows = [
        ("nothing", Params::default()),
        ("state alone", Params::of(&[("state", "s")])),
        ("client_id", Params::of(&[("client_id", "web")])),
        ("client_id and address", Params::of(&[("client_id", "web"), ("post_logout_redirect_uri", BYE), ("state", "s")])),
        ("another person's hint", Params::of(&[("id_token_hint", &hint)])),
    ];
    for (row, query) in rows {
        let mut person = signed_in(47).await.person;
        let before = person.clone();
        for post in [false, true] {
            let answer = match post {
                true => person.submit("/logout", &query.encode()).await,
                false => person.open(&format!("/logout?{}", query.encode())).await,
            };
            let page = Page::parse(&answer.text());
            assert!(page.has("logout-confirm"), "{row}: {}", answer.text());
            assert!(is_alive(&before).await, "{row}: asked is not done");
            if !post {
                continue;
            }
            #[rustfmt::skip]
            let rows = [
                ("no token", page.filled(&[], "logout-confirm").without("csrf").and("csrf", "x")),
                ("another's token", page.filled(&[], "logout-confirm").set("csrf", &"A".repeat(43))),
            ];
            for (wrong, form) in rows {
                assert_eq!(
                    person.submit(&page.action, &form.encode()).await.status,
                    400,
                    "{row}, {wrong}"
                );
                assert!(is_alive(&before).await, "{row}, {wrong}");
            }
            let answer = person
                .submit(&page.action, &page.filled(&[], "logout-confirm").encode())
                .await;
            match row {
                "client_id and address" => {
                    assert_eq!(answer.header("location"), format!("{BYE}?state=s"))
                }
                _ => assert_eq!(
                    Page::parse(&answer.text()).heading,
                    "You are logged out",
                    "{row}"
                ),
            }
            assert!(!is_alive(&before).await, "{row}");
        }
    }
}

/// What another site posts comes without cookies (`SameSite=Lax`): nobody is signed out by it unseen, and who shows a
/// hint signs the person out all the same.
#[tokio::test]
async fn posted_by_another_site() {
    let SignedIn { mut person, hint } = signed_in(49).await;
    let hinted = Params::of(&[("id_token_hint", &hint), ("state", "s")])
        .and("post_logout_redirect_uri", BYE);
    for (row, form) in [("bare", Params::default()), ("hint", hinted)] {
        let without_cookies = Person::new(&person.site, 49);
        let answer = without_cookies
            .clone()
            .submit("/logout", &form.encode())
            .await;
        assert_eq!(answer.status, 303, "{row}");
        assert_eq!(answer.header("set-cookie"), "", "{row}");
        assert!(is_alive(&person).await, "{row}");
        let before = person.clone();
        let answer = person.open(answer.header("location")).await;
        match row {
            "bare" => {
                let page = Page::parse(&answer.text());
                assert!(page.has("logout-confirm"), "{row}: {}", answer.text());
                assert!(is_alive(&before).await, "{row}");
            }
            _ => {
                assert_eq!(answer.header("location"), format!("{BYE}?state=s"));
                assert!(!is_alive(&before).await, "{row}");
            }
        }
    }
}

/// S2-30: what was granted without `offline_access` ends with the session, and nothing else does.
#[tokio::test]
async fn refresh_tokens_of_the_session() {
    let site = stack::shared().site();
    #[rustfmt::skip]
    let rows = [
        ("S2-30 openid", BOUND, "openid", true, "400 invalid_grant"),
        ("S2-30 openid and more", BOUND, "openid email", true, "400 invalid_grant"),
        ("S2-30 offline_access", BOUND, "openid offline_access", true, "200"),
        ("S2-30 without openid", BOUND, "email", true, "200"),
        ("S2-30 offline_access, a usual client", WEB, "openid offline_access", true, "200"),
        ("S2-30 the session goes on", BOUND, "openid", false, "200"),
    ];
    for (row, client, scope, leaves, expected) in rows {
        let mut person = Person::new(&site, 44);
        let mut elsewhere = Person::new(&site, 44);
        let refresh_token = |tokens: &serde_json::Value| {
            let token = tokens["refresh_token"].as_str();
            token
                .unwrap_or_else(|| panic!("{row}: {tokens}"))
                .to_owned()
        };
        let tokens = client.tokens(&mut person, scope).await;
        let other = refresh_token(&client.tokens(&mut elsewhere, scope).await);
        let answer = client.refresh(&site, &refresh_token(&tokens)).await;
        assert_eq!(answer.outcome(), "200", "{row}: before");
        let current = refresh_token(&answer.json());
        if leaves {
            let page = Page::parse(&person.open("/logout").await.text());
            let form = page.filled(&[], "logout-confirm").encode();
            assert_eq!(
                person.submit(&page.action, &form).await.status,
                200,
                "{row}"
            );
        }
        let answer = client.refresh(&site, &current).await;
        assert_eq!(answer.outcome(), expected, "{row}");
        let other = client.refresh(&site, &other).await;
        assert_eq!(other.outcome(), "200", "{row}: another session's");
    }
}

/// Another language, as the request wants it.
#[tokio::test]
async fn ui_locales() {
    let SignedIn { mut person, hint } = signed_in(43).await;
    let query = |locales: &str, more: &[(&str, &str)]| {
        let query = Params::of(&[("ui_locales", locales)]).with(more);
        format!("/logout?{}", query.encode())
    };
    #[rustfmt::skip]
    let rows = [
        ("S2-U11 asked", query("de-CH en", &[]), "Abmelden", "de"),
        ("S2-U11 refused", query("fr", &[("id_token_hint", "x")]), "Erreur de déconnexion", "fr"),
        ("S2-U11 none of ours", query("ja", &[]), "Sign out", "en"),
        ("S2-U11 done", query("it fr de", &[("id_token_hint", &hint)]), "Vous êtes déconnecté", "fr"),
    ];
    for (row, place, heading, language) in rows {
        let text = person.open(&place).await.text();
        assert_eq!(Page::parse(&text).heading, heading, "{row}");
        assert!(
            text.contains(&format!("<html lang=\"{language}\">")),
            "{row}"
        );
    }
}

#[tokio::test]
async fn refused() {
    let SignedIn { mut person, hint } = signed_in(48).await;
    let theirs = POST.tokens(&mut person, "openid").await;
    let id_token = theirs["id_token"].as_str().unwrap();
    let (head, _) = hint.rsplit_once('.').unwrap();
    let with = |name: &str, value: &str| Params::of(&[("id_token_hint", &hint)]).set(name, value);
    let long = "s".repeat(4097);
    #[rustfmt::skip]
    let rows: Vec<(&str, Params)> = vec![
        ("unregistered", with("post_logout_redirect_uri", "https://evil.test/")),
        ("a redirect URI", with("post_logout_redirect_uri", WEB.redirect_uri)),
        ("a slash more", with("post_logout_redirect_uri", "https://rp.example/bye/")),
        ("a query more", with("post_logout_redirect_uri", "https://rp.example/bye?y")),
        ("a fragment", with("post_logout_redirect_uri", "https://rp.example/bye#x")),
        ("of other case", with("post_logout_redirect_uri", "https://RP.example/bye")),
        ("script", with("post_logout_redirect_uri", "javascript:alert(1)")),
        ("address without client", Params::of(&[("post_logout_redirect_uri", BYE)])),
        ("address of another client", Params::of(&[("post_logout_redirect_uri", BYE), ("client_id", "post")])),
        ("address and another's hint", with("post_logout_redirect_uri", BYE).set("id_token_hint", id_token)),
        ("another client_id", with("client_id", "post")),
        ("unsigned", with("id_token_hint", &format!("{head}."))),
        ("alg none", with("id_token_hint", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ1c2VyNDgifQ.")),
        ("forged", with("id_token_hint", &format!("{head}.{}", "A".repeat(86)))),
        ("letters", with("id_token_hint", "abc")),
        ("an access token", with("id_token_hint", theirs["access_token"].as_str().unwrap())),
        ("hint twice", with("id_token_hint", &hint).and("id_token_hint", &hint)),
        ("address twice", with("post_logout_redirect_uri", BYE).and("post_logout_redirect_uri", BYE)),
        ("long state", with("post_logout_redirect_uri", BYE).and("state", &long)),
    ];
    for (row, query) in rows {
        for post in [false, true] {
            let answer = match post {
                true => person.submit("/logout", &query.encode()).await,
                false => person.open(&format!("/logout?{}", query.encode())).await,
            };
            let heading = Page::parse(&answer.text()).heading;
            assert_eq!(
                (answer.status, heading.as_str()),
                (400, "Logout error"),
                "{row}: {}",
                answer.text()
            );
            assert_eq!(answer.header("location"), "", "{row}");
            assert!(!answer.text().contains("evil.test"), "{row}");
        }
    }
    assert!(is_alive(&person).await, "nobody was signed out");
}
