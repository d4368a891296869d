//! P-2: issuer discovery by WebFinger (OpenID Connect Discovery §2, RFC 7033): for the accounts of our domains, whether
//! there is such an account or not.

use serde_json::json;

use crate::params::Params;
use crate::stack;

const ISSUER: &str = "http://openid.net/specs/connect/1.0/issuer";

#[tokio::test]
async fn resources() {
    let site = stack::shared().site();
    let own = site.issuer().split_once("://").unwrap().1.to_owned();
    let link = json!([{"rel": ISSUER, "href": site.issuer()}]);
    let rel = |value: &'static str| vec![("rel", value)];
    #[rustfmt::skip]
    let rows = [
        ("an account", "acct:user1@example.com".to_owned(), rel(ISSUER), 200),
        ("an account that does not exist", "acct:nobody@example.com".to_owned(), rel(ISSUER), 200),
        ("no account at all", "acct:-@example.com".to_owned(), rel(ISSUER), 200),
        ("an account with @", "acct:a@b@example.com".to_owned(), rel(ISSUER), 200),
        ("an account with an escape", "acct:a%40b@example.com".to_owned(), rel(ISSUER), 200),
        ("case", "acct:a@EXAMPLE.com".to_owned(), rel(ISSUER), 200),
        ("a URL", "https://example.com".to_owned(), rel(ISSUER), 200),
        ("a URL with a path", "https://example.com/~a?x#y".to_owned(), rel(ISSUER), 200),
        ("the issuer", site.issuer().to_owned(), rel(ISSUER), 200),
        ("an account of the issuer's host", format!("acct:a@{own}"), rel(ISSUER), 200),
        ("an account of the issuer's host, no port", "acct:a@127.0.0.1".to_owned(), rel(ISSUER), 200),
        ("any relation", "acct:a@example.com".to_owned(), vec![], 200),
        ("two relations", "acct:a@example.com".to_owned(), vec![("rel", "x"), ("rel", ISSUER)], 200),
        ("another relation", "acct:a@example.com".to_owned(), rel("avatar"), 201),
        ("another domain", "acct:a@other.example".to_owned(), rel(ISSUER), 404),
        ("a domain below", "acct:a@sub.example.com".to_owned(), rel(ISSUER), 404),
        ("a domain above", "acct:a@com".to_owned(), rel(ISSUER), 404),
        ("a longer domain", "acct:a@example.com.evil.test".to_owned(), rel(ISSUER), 404),
        ("another port", "acct:a@example.com:1".to_owned(), rel(ISSUER), 404),
        ("a URL elsewhere", "https://evil.test/https://example.com".to_owned(), rel(ISSUER), 404),
        ("a URL with a user", "https://example.com@evil.test/".to_owned(), rel(ISSUER), 404),
        ("no user", "acct:@example.com".to_owned(), rel(ISSUER), 404),
        ("no domain", "acct:a".to_owned(), rel(ISSUER), 404),
        ("an empty domain", "acct:a@".to_owned(), rel(ISSUER), 404),
        ("a domain with a path", "acct:a@example.com/x".to_owned(), rel(ISSUER), 404),
        ("another scheme", "mailto:a@example.com".to_owned(), rel(ISSUER), 404),
        ("no URI", "a@example.com".to_owned(), rel(ISSUER), 400),
        ("empty", String::new(), rel(ISSUER), 400),
    ];
    for (row, resource, rels, expected) in rows {
        let mut query = Params::of(&[("resource", &resource)]);
        for (name, value) in rels {
            query = query.and(name, value);
        }
        let place = format!("/.well-known/webfinger?{}", query.encode());
        let answer = site.get(&place).await;
        let (status, links) = match expected {
            201 => (200, json!([])),
            status => (status, link.clone()),
        };
        assert_eq!(answer.status, status, "P-2 {row}: {}", answer.text());
        if status == 200 {
            assert_eq!(
                answer.header("content-type"),
                "application/jrd+json",
                "{row}"
            );
            let document = json!({"subject": resource, "links": links});
            assert_eq!(answer.json(), document, "{row}");
        } else {
            assert!(!answer.text().contains("example"), "{row}");
        }
    }
    for (row, query) in [
        ("nothing", ""),
        ("no resource", "rel=x"),
        (
            "twice",
            "resource=acct:a@example.com&resource=acct:b@example.com",
        ),
    ] {
        let answer = site.get(&format!("/.well-known/webfinger?{query}")).await;
        assert_eq!(answer.outcome(), "400 invalid_request", "P-2 {row}");
    }
}
