//! A gateway that asks for what the key-service's rules never allow. To try again does not help, so nobody is told to.

use crate::person::Person;
use crate::registration::WEB;
use crate::stack::{self, Options};

#[tokio::test]
async fn what_the_rules_never_allow_is_no_outage() {
    let stack = stack::start(&Options {
        tables: "[tokens]\nid_token = \"48h\"\n",
        ..Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let code = person.code(&WEB, "openid").await;
    let request = WEB.build(&site, "/token", WEB.redemption(&code));
    let refused = site.try_send(request).await.unwrap();
    assert_eq!(refused.outcome(), "500 server_error", "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "");
    assert!(
        !refused.text().contains("lifetime"),
        "a rule is not for clients"
    );
    let log = stack.log("gateway0");
    let line = log.lines().find(|line| line.contains("lifetime"));
    assert!(line.is_some_and(|line| line.contains("ERROR")), "{log}");
    // And there is nothing wrong with the rest.
    let ready = site.get("/health/ready").await;
    assert_eq!(ready.status, 200);
}
