//! Signatures by a stream are what they are by calls, each by itself, and a stream that ends has answered what it
//! has read.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::sign_stream_response::Outcome;
use proto::v1::{self, Profile};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status, Streaming};

use crate::audit::{intact, log_of, records, signed};
use crate::running::{GATEWAY, KeyService, caller, id_token, item, verification};

const RING: &str = "id-token/ES256";
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"
[[rings]]
name = "id-token/ES256"
profiles = ["id_token"]
"#;

pub(crate) type Ask = mpsc::Sender<v1::SignStreamRequest>;

pub(crate) async fn stream(
    keys: &mut KeyServiceClient<Channel>,
) -> Result<(Ask, Streaming<v1::SignStreamResponse>), Status> {
    let (ask, asked) = mpsc::channel(64);
    let answers = keys.sign_stream(ReceiverStream::new(asked)).await?;
    Ok((ask, answers.into_inner()))
}

pub(crate) fn request(id: u64, ring: &str, claims: &Value) -> v1::SignStreamRequest {
    v1::SignStreamRequest {
        id,
        request: Some(v1::SignRequest {
            items: vec![item(ring, Profile::IdToken, claims)],
        }),
        request_id: format!("r-{id}"),
        timeout_ms: 0,
    }
}

fn claims(now: i64, jti: &str) -> Value {
    let mut claims = id_token(now);
    claims["jti"] = json!(jti);
    claims
}

/// The answers to so many requests: the tokens, or the codes of refusals.
pub(crate) async fn answers(
    stream: &mut Streaming<v1::SignStreamResponse>,
    count: usize,
) -> HashMap<u64, Result<String, v1::Refusal>> {
    let mut answers = HashMap::new();
    while answers.len() < count {
        let answer = stream.message().await.unwrap().unwrap();
        let outcome = match answer.outcome.unwrap() {
            Outcome::Response(mut response) => Ok(response.items.remove(0).compact),
            Outcome::Refusal(refusal) => Err(refusal),
        };
        assert!(
            answers.insert(answer.id, outcome).is_none(),
            "{}",
            answer.id
        );
    }
    answers
}

#[tokio::test]
async fn each_is_permitted_answered_and_written_down_by_itself() {
    let service = KeyService::start(TABLES);
    let now = service.now();
    let mut keys = service.keys().await;
    let (ask, mut stream) = stream(&mut keys).await.unwrap();
    let empty = v1::SignStreamRequest {
        id: 4,
        ..v1::SignStreamRequest::default()
    };
    for request in [
        request(1, RING, &claims(now, "one")),
        request(2, "other/ES256", &claims(now, "two")),
        request(3, RING, &claims(now - 600, "three")),
        empty,
        request(5, RING, &claims(now, "five")),
    ] {
        ask.send(request).await.unwrap();
    }
    let mut answers = answers(&mut stream, 5).await;
    let mut refused = |id| answers.remove(&id).unwrap().unwrap_err();
    // As a call of Sign would have said.
    let nobody = vec![item("other/ES256", Profile::IdToken, &claims(now, "two"))];
    let status = keys.sign(v1::SignRequest { items: nobody }).await;
    let status = status.unwrap_err();
    let refusal = v1::Refusal {
        code: status.code() as u32,
        message: status.message().to_owned(),
        retry_pushback_ms: None,
    };
    assert_eq!(refused(2), refusal);
    assert_eq!(refused(3).code, Code::FailedPrecondition as u32);
    assert_eq!(refused(4).code, Code::InvalidArgument as u32);
    for id in [1, 5] {
        let token = answers.remove(&id).unwrap().unwrap();
        let key = v1::verify_request::Key::Ring("id-token/*".to_owned());
        keys.verify(verification(&token, "ES256", key))
            .await
            .unwrap();
    }
    let log = log_of(&service);
    intact(&log);
    let jtis = ["one", "five"].map(str::to_owned);
    assert_eq!(signed(&log), HashSet::from(jtis));
    let mut written: Vec<(String, String)> = records(&log)
        .into_iter()
        .filter(|record| record["rpc"] == "Sign")
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            (text("request"), text("status"))
        })
        .collect();
    written.sort_unstable();
    let expected = [
        ("", "INVALID_ARGUMENT"),
        ("", "PERMISSION_DENIED"),
        ("r-1", "OK"),
        ("r-2", "PERMISSION_DENIED"),
        ("r-3", "FAILED_PRECONDITION"),
        ("r-5", "OK"),
    ];
    let expected = expected.map(|(request, status)| (request.to_owned(), status.to_owned()));
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_connection_has_one() {
    let service = KeyService::start(TABLES);
    let now = service.now();
    let mut keys = service.keys().await;
    let (ask, mut first) = stream(&mut keys).await.unwrap();
    let refused = stream(&mut keys).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    ask.send(request(1, RING, &claims(now, "1"))).await.unwrap();
    answers(&mut first, 1).await.remove(&1).unwrap().unwrap();
    // Once it has ended there may be another one.
    drop(ask);
    assert!(first.message().await.unwrap().is_none());
    let (ask, mut second) = stream(&mut keys).await.unwrap();
    ask.send(request(2, RING, &claims(now, "2"))).await.unwrap();
    answers(&mut second, 1).await.remove(&2).unwrap().unwrap();
}

#[tokio::test]
async fn it_ends_in_order_with_the_service() {
    let service = KeyService::configured(TABLES, |config| {
        config.listen.drain = Duration::from_secs(20);
    });
    let now = service.now();
    let mut keys = service.keys().await;
    let (ask, mut stream) = stream(&mut keys).await.unwrap();
    let asking = tokio::spawn(async move {
        for id in 0.. {
            let request = request(id, RING, &claims(now, &id.to_string()));
            if ask.send(request).await.is_err() {
                break;
            }
        }
    });
    answers(&mut stream, 8).await;
    let log = log_of(&service);
    let KeyService {
        running, folder, ..
    } = service;
    let mut answered: HashSet<String> = (0..8).map(|id: u64| id.to_string()).collect();
    let ended = tokio::task::spawn_blocking(move || drop(running));
    while let Some(answer) = stream.message().await.unwrap() {
        assert!(matches!(answer.outcome, Some(Outcome::Response(_))));
        answered.insert(answer.id.to_string());
    }
    drop(stream);
    ended.await.unwrap();
    asking.await.unwrap();
    // What was signed is answered, and what is not answered was not signed.
    intact(&log);
    assert_eq!(signed(&log), answered);
    drop(folder);
}

/// A caller with room for an octet, until it reads what has come.
async fn unreading(service: &KeyService) -> KeyServiceClient<Channel> {
    let issued = caller(&service.authority, GATEWAY);
    let identity = Identity::from_pem(&issued.certificate_pem, &issued.key_pem);
    let endpoint = service.endpoint(ClientTlsConfig::new().identity(identity));
    let endpoint = endpoint.unwrap().initial_stream_window_size(1);
    KeyServiceClient::new(endpoint.connect().await.unwrap())
}

async fn until_signed(log: &Path, jti: &str) {
    let written = async {
        while !signed(log).contains(jti) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(20), written);
    written.await.expect("a signature that is finished");
}

#[tokio::test]
async fn who_does_not_read_keeps_nothing_from_being_done() {
    let service = KeyService::configured(TABLES, |config| config.listen.concurrent_streams = 4);
    let (now, log) = (service.now(), log_of(&service));
    let mut keys = unreading(&service).await;
    let (ask, mut stream) = stream(&mut keys).await.unwrap();
    for id in 0..16 {
        let request = request(id, RING, &claims(now, &id.to_string()));
        ask.send(request).await.unwrap();
        // One is on its way out; four more have room.
        if id < 5 {
            until_signed(&log, &id.to_string()).await;
        }
    }
    // Nor does it keep anybody from asking otherwise.
    let items = vec![item(RING, Profile::IdToken, &claims(now, "call"))];
    keys.sign(v1::SignRequest { items }).await.unwrap();
    // tonic holds one that it has written and one that it is about to.
    let unread = signed(&log).len() - 1;
    assert!((5..=6).contains(&unread), "{unread}");
    for (id, answer) in answers(&mut stream, 16).await {
        answer.unwrap_or_else(|refusal| panic!("{id}: {refusal:?}"));
    }
}

#[tokio::test]
async fn there_is_no_other_while_answers_are_unread() {
    let service = KeyService::start(TABLES);
    let (now, log) = (service.now(), log_of(&service));
    let mut keys = unreading(&service).await;
    let (ask, mut first) = stream(&mut keys).await.unwrap();
    for id in 0..4 {
        let request = request(id, RING, &claims(now, &id.to_string()));
        ask.send(request).await.unwrap();
    }
    drop(ask);
    until_signed(&log, "3").await;
    let refused = stream(&mut keys).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    answers(&mut first, 4).await;
    assert!(first.message().await.unwrap().is_none());
    stream(&mut keys).await.unwrap();
}

#[tokio::test]
async fn what_is_not_understood_ends_it_and_nothing_else() {
    let service = KeyService::start(TABLES);
    let now = service.now();
    let mut keys = service.keys().await;
    let (ask, mut broken) = stream(&mut keys).await.unwrap();
    // Longer than `listen.message_size`.
    let large = json!({ "large": "x".repeat(1024 * 1024) });
    ask.send(request(1, RING, &large)).await.unwrap();
    assert!(broken.message().await.unwrap().is_none());
    let items = vec![item(RING, Profile::IdToken, &claims(now, "after"))];
    keys.sign(v1::SignRequest { items }).await.unwrap();
}
