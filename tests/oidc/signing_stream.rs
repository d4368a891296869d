//! A gateway asks for signatures by one stream, and goes on when the key-service was replaced under it.

use http::Request;
use nix::sys::signal::Signal;

use crate::person::Person;
use crate::registration::WEB;
use crate::secrets::{folder, metrics};
use crate::stack::{self, Options, Stack};

const LOGINS: usize = 8;
/// Where there is no connection yet, a call makes it. The gateway has one.
const FIRST: usize = 1;

/// How many signatures came by a stream.
async fn streamed(stack: &Stack) -> usize {
    let request = Request::get(metrics(&folder(stack), "key-service"));
    let answer = stack
        .site()
        .try_send(request.body(Vec::new()).unwrap())
        .await;
    let metrics = answer.unwrap().text();
    let begin = "key_service_requests_total{rpc=\"SignStream\",code=\"OK\"} ";
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(begin));
    lines.next().map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn signatures_come_by_a_stream_also_after_a_restart() {
    let stack = stack::start(&Options::default());
    for restart in [false, true] {
        if restart {
            stack.signal("key-service", Signal::SIGTERM);
            stack.start_again("key-service");
        }
        let site = stack.site();
        let mut person = Person::new(&site, 0);
        for _ in 0..LOGINS {
            let code = person.code(&WEB, "openid").await;
            let request = WEB.build(&site, "/token", WEB.redemption(&code));
            let answer = site.try_send(request).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let count = streamed(&stack).await;
        assert!((LOGINS - FIRST..=LOGINS).contains(&count), "{count}");
    }
}
