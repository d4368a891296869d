//! What stands beside the two services: health, metrics, probes, and the end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use proto::v1;
use tonic::Code;

use crate::running::{GATEWAY, KeyService, caller, sign};

const RING: &str = "id-token/ES256";

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let service = KeyService::with_rings(&[RING]);
    let mut keys = service.keys().await;
    sign(&mut keys, RING, service.now()).await.unwrap();
    sign(&mut keys, RING, service.now() - 600)
        .await
        .unwrap_err();
    let address = service.running.metrics_address().unwrap();
    assert!(get(address, "/health/live").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/health/ready").starts_with("HTTP/1.1 200"));
    assert!(get(address, "/other").starts_with("HTTP/1.1 404"));
    let metrics = get(address, "/metrics");
    for line in [
        r#"key_service_requests_total{rpc="Sign",code="OK"} 1"#,
        r#"key_service_requests_total{rpc="Sign",code="FAILED_PRECONDITION"} 1"#,
        r#"key_service_refusals_total{rule="iat"} 1"#,
        r#"key_service_signatures_total{ring="id-token/ES256",backend="software"} 1"#,
        r#"key_service_signatures_total{ring="id-token/ES256",backend="pkcs11"} 0"#,
        r#"key_service_request_duration_seconds_count{rpc="Sign"} 2"#,
        "key_service_backend_up 1",
        r#"key_service_backend_state{state="up"} 1"#,
        r#"key_service_backend_state{state="locked_out"} 0"#,
        r#"state="ACTIVE""#,
        r#"state="NEXT""#,
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn health_is_for_callers_and_unknown_methods_are_nobodys() {
    let service = KeyService::with_rings(&[RING]);
    let rows = [
        (GATEWAY, "/grpc.health.v1.Health/Check", Code::Ok),
        (
            GATEWAY,
            "/keyservice.v1.KeyService/Sing",
            Code::Unimplemented,
        ),
        (
            GATEWAY,
            "/keyservice.v1.Keyservice/Sign",
            Code::Unimplemented,
        ),
        (
            GATEWAY,
            "/keyservice.v1.KeyService/Sign/",
            Code::Unimplemented,
        ),
        (
            GATEWAY,
            "//keyservice.v1.KeyService/Sign",
            Code::Unimplemented,
        ),
        (
            GATEWAY,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Code::Unimplemented,
        ),
        (
            "spiffe://nobody",
            "/grpc.health.v1.Health/Check",
            Code::PermissionDenied,
        ),
        (
            "spiffe://nobody",
            "/keyservice.v1.KeyService/Sing",
            Code::PermissionDenied,
        ),
    ];
    for (name, path, expected) in rows {
        let channel = service
            .channel(&caller(&service.authority, name))
            .await
            .unwrap();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        // An empty message is a request of any type with nothing set.
        let request = tonic::Request::new(v1::InfoRequest {});
        let codec = tonic_prost::ProstCodec::<v1::InfoRequest, v1::InfoRequest>::default();
        let outcome = grpc.unary(request, path.parse().unwrap(), codec).await;
        let code = outcome.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(code, expected, "{name} {path}");
    }
}

#[tokio::test]
async fn shutdown_waits_for_no_idle_connection() {
    let service = KeyService::with_rings(&[RING]);
    let mut keys = service.keys().await;
    sign(&mut keys, RING, service.now()).await.unwrap();
    let mut watching = keys.clone();
    let requests = tokio_stream::pending::<v1::WatchPublicJwksRequest>();
    let mut stream = watching
        .watch_public_jwks(requests)
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    let now = service.now();
    let begun = Instant::now();
    let running = service.running;
    tokio::task::spawn_blocking(move || running.shutdown())
        .await
        .unwrap();
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(sign(&mut keys, RING, now).await.is_err());
}
