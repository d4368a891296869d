//! Each thing that we hand out, presented as each other thing (CO-05, RT-09, RD-02, JO-12): refused everywhere but at
//! its own place.

use http::Method;

use crate::client::Client;
use crate::params::Params;
use crate::person::{AtLogin, Person};
use crate::registration::{JWT, WEB};
use crate::site::Site;
use crate::stack;

/// Where it is presented.
#[rustfmt::skip]
const PLACES: [&str; 8] = [
    "code", "refresh_token", "userinfo", "introspection", "session", "interaction", "login hint", "logout hint",
];

async fn is_taken(site: &Site, client: &Client, place: &str, value: &str) -> bool {
    match place {
        "code" => client.redeem(site, value).await.status == 200,
        "refresh_token" => client.refresh(site, value).await.status == 200,
        "introspection" => client.is_active(site, value).await,
        "userinfo" => {
            let request = site
                .request(Method::GET, "/userinfo")
                .header("authorization", format!("Bearer {value}"));
            site.send(request.body(Vec::new()).unwrap()).await.status == 200
        }
        "session" => {
            let place = format!(
                "/authorize?{}",
                client.request().set("prompt", "none").encode()
            );
            let request = site
                .request(Method::GET, &place)
                .header("cookie", format!("signet-session={value}"));
            let answer = site.send(request.body(Vec::new()).unwrap()).await;
            answer.header("location").contains("code=")
        }
        "interaction" => {
            let query = Params::of(&[("interaction", value)]).encode();
            let mut statuses = Vec::new();
            for page in ["/login", "/consent"] {
                statuses.push(site.get(&format!("{page}?{query}")).await.status);
            }
            statuses.contains(&200)
        }
        "login hint" => {
            // Nobody is signed in: a hint that is taken leads to the sign-in.
            let request = client.request().set("id_token_hint", value).encode();
            let answer = site.get(&format!("/authorize?{request}")).await;
            answer.header("location").contains("/login")
        }
        "logout hint" => {
            let query = Params::of(&[("id_token_hint", value)]).encode();
            site.get(&format!("/logout?{query}")).await.status == 200
        }
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn everything_as_everything_else() {
    let site = stack::shared().site();
    for (client, number) in [(WEB, 36), (JWT, 37)] {
        let mut person = Person::new(&site, number);
        let tokens = client.tokens(&mut person, "openid offline_access").await;
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        let code = person.code(&client, "openid").await;
        person.at_login = AtLogin::Stop;
        let login = person
            .authorize(&client.request().set("prompt", "login"))
            .await;
        let page = login.answer.text();
        let interaction = page
            .split("interaction=")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let csrf = page
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let browser = person.cookies["signet-browser"].clone();
        #[rustfmt::skip]
        let things: [(&str, String, &[&str]); 8] = [
            ("access token", text("access_token"), &["userinfo", "introspection"]),
            ("ID token", text("id_token"), &["login hint", "logout hint"]),
            // The interaction is bound to its browser's cookie, which these requests do not send.
            ("interaction", interaction, &[]),
            ("form token", csrf, &[]),
            ("browser", browser, &[]),
            ("session", person.session().to_owned(), &["session"]),
            ("code", code, &["code"]),
            ("refresh token", text("refresh_token"), &["refresh_token", "introspection"]),
        ];
        for (thing, value, fits) in things {
            // Where it does not belong first: that must not use it up.
            let (fitting, others): (Vec<&str>, Vec<&str>) =
                PLACES.iter().partition(|place| fits.contains(place));
            for (place, wanted) in others
                .iter()
                .map(|place| (place, false))
                .chain(fitting.iter().map(|place| (place, true)))
            {
                let taken = is_taken(&site, &client, place, &value).await;
                assert_eq!(taken, wanted, "{thing} of {} as {place}", client.id);
            }
        }
    }
}
