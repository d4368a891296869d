//! Who may call (RFC 8705 §2, RFC 5280 §4.2.1.6): a certificate of ours with exactly one name of the configured kind, and
//! for each service its own list.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use pki::{Authority, Issued, Leaf};
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, Profile};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use crate::running::{
    GATEWAY, KeyService, OPERATOR, caller, id_token, item, jwks, sign, write_certificate,
};

const RING: &str = "id-token/ES256";

fn issue(authority: &Authority, uris: &[&str], dns: &[&str], common_name: &str) -> Issued {
    let leaf = Leaf {
        common_name,
        uris,
        dns,
        client: true,
        ..Leaf::default()
    };
    authority.issue(&leaf).unwrap()
}

/// An answer; or a refusal by a status; or none, for want of a connection.
type Outcome = Result<(), Option<Code>>;

/// What a caller that got a connection, or did not, gets for an ordinary request.
async fn ask(channel: Result<Channel, tonic::transport::Error>) -> Outcome {
    // A refused certificate shows at the handshake's end, or with TLS 1.3 only at the first request.
    let channel = channel.map_err(|_| None)?;
    let outcome = KeyServiceClient::new(channel)
        .public_jwks(v1::PublicJwksRequest::default())
        .await;
    match outcome {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::PermissionDenied => Err(Some(Code::PermissionDenied)),
        Err(_) => Err(None),
    }
}

#[tokio::test]
async fn only_the_right_name_calls() {
    let service = KeyService::with_rings(&[RING]);
    let ours = &service.authority;
    let other = Authority::new("another CA").unwrap();
    let late = Leaf {
        common_name: "late",
        uris: &[GATEWAY],
        client: true,
        days: Some(-1),
        ..Leaf::default()
    };
    let server = Leaf {
        common_name: "server",
        uris: &[GATEWAY],
        server: true,
        ..Leaf::default()
    };
    let denied = Err(Some(Code::PermissionDenied));
    let rows: Vec<(&str, Issued, Outcome)> = vec![
        ("the gateway", caller(ours, GATEWAY), Ok(())),
        (
            "and a name of another kind",
            issue(ours, &[GATEWAY], &["gateway.example"], ""),
            Ok(()),
        ),
        ("another CA", caller(&other, GATEWAY), Err(None)),
        ("expired", ours.issue(&late).unwrap(), Err(None)),
        ("for servers only", ours.issue(&server).unwrap(), Err(None)),
        (
            "a wrong name",
            caller(ours, "spiffe://signet/other"),
            denied,
        ),
        (
            "two names",
            issue(ours, &[GATEWAY, "spiffe://signet/other"], &[], ""),
            denied,
        ),
        (
            "the same name twice",
            issue(ours, &[GATEWAY, GATEWAY], &[], ""),
            denied,
        ),
        (
            "a longer name",
            caller(ours, &format!("{GATEWAY}/x")),
            denied,
        ),
        (
            "a shorter name",
            caller(ours, "spiffe://signet/oidc-gatewa"),
            denied,
        ),
        (
            "another case",
            caller(ours, "spiffe://signet/OIDC-gateway"),
            denied,
        ),
        (
            "percent-encoding",
            caller(ours, "spiffe://signet/oidc%2Dgateway"),
            denied,
        ),
        (
            "dot segments",
            caller(ours, "spiffe://signet/x/../oidc-gateway"),
            denied,
        ),
        (
            "the name as common name",
            issue(ours, &[], &[], GATEWAY),
            denied,
        ),
        (
            "a DNS name",
            issue(ours, &[], &["oidc-gateway"], ""),
            denied,
        ),
        ("no name", issue(ours, &[], &[], "x"), denied),
    ];
    for (what, certificate, expected) in rows {
        assert_eq!(
            ask(service.channel(&certificate).await).await,
            expected,
            "{what}"
        );
    }
    assert_eq!(
        ask(service.connect(ClientTlsConfig::new()).await).await,
        Err(None),
        "no certificate"
    );
    assert_eq!(
        ask(service.channel(&caller(ours, GATEWAY)).await).await,
        Ok(()),
        "still serving"
    );
}

fn code<T>(outcome: Result<T, Status>) -> Code {
    outcome.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn a_gateway_is_no_operator_and_an_operator_no_gateway() {
    let service = KeyService::with_rings(&[RING, "request-object/ECDH-ES", "seal/A256GCM"]);
    let gateway = service
        .channel(&caller(&service.authority, GATEWAY))
        .await
        .unwrap();
    let mut admin = KeyAdminClient::new(gateway);
    let codes = [
        code(admin.list_keys(v1::ListKeysRequest::default()).await),
        code(
            admin
                .rotate_key(v1::RotateKeyRequest {
                    ring: RING.to_owned(),
                    dry_run: true,
                })
                .await,
        ),
        code(admin.revoke_key(v1::RevokeKeyRequest::default()).await),
        code(admin.disable_key(v1::DisableKeyRequest::default()).await),
        code(admin.enable_key(v1::EnableKeyRequest::default()).await),
        code(admin.destroy_key(v1::DestroyKeyRequest::default()).await),
        code(admin.info(v1::InfoRequest::default()).await),
        code(admin.read_audit(v1::ReadAuditRequest::default()).await),
        code(admin.verify_audit(v1::VerifyAuditRequest::default()).await),
    ];
    assert_eq!(codes, [Code::PermissionDenied; 9]);

    // The operator of all rings, and a caller of the right service that has no ring.
    for (name, jwks) in [
        (OPERATOR, Code::PermissionDenied),
        ("spiffe://signet/stranger", Code::Ok),
    ] {
        let channel = service
            .channel(&caller(&service.authority, name))
            .await
            .unwrap();
        let mut keys = KeyServiceClient::new(channel);
        let codes = [
            code(sign(&mut keys, RING, service.now()).await),
            code(
                keys.wrap(v1::WrapRequest {
                    plaintext: "x".into(),
                    to: Some(v1::wrap_request::To::Context("c".to_owned())),
                })
                .await,
            ),
            code(
                keys.verify(crate::running::verification(
                    "a.b.c",
                    "ES256",
                    v1::verify_request::Key::Ring("id-token/*".to_owned()),
                ))
                .await,
            ),
        ];
        assert_eq!(codes, [Code::PermissionDenied; 3], "{name}");
        assert_eq!(
            code(keys.public_jwks(v1::PublicJwksRequest::default()).await),
            jwks,
            "{name}"
        );
    }

    // Unknown and foreign: the same answer.
    let channel = service
        .channel(&caller(&service.authority, "spiffe://signet/stranger"))
        .await
        .unwrap();
    let mut keys = KeyServiceClient::new(channel);
    let foreign = sign(&mut keys, RING, service.now()).await.unwrap_err();
    let unknown = sign(&mut keys, "id-token/RS512", service.now())
        .await
        .unwrap_err();
    assert_eq!(
        (foreign.code(), foreign.message()),
        (unknown.code(), unknown.message())
    );
}

/// The same before anything else is looked at, and for what is not built yet.
#[tokio::test]
async fn an_operator_calls_nothing_that_uses_keys() {
    let service = KeyService::with_rings(&[RING]);
    let certificate = caller(&service.authority, OPERATOR);
    let mut keys = KeyServiceClient::new(service.channel(&certificate).await.unwrap());
    let watch = tokio_stream::once(v1::WatchPublicJwksRequest::default());
    let codes = [
        code(keys.sign(v1::SignRequest::default()).await),
        code(keys.verify(v1::VerifyRequest::default()).await),
        code(keys.mac(v1::MacRequest::default()).await),
        code(keys.decrypt(v1::DecryptRequest::default()).await),
        code(keys.wrap(v1::WrapRequest::default()).await),
        code(keys.rewrap(v1::RewrapRequest::default()).await),
        code(keys.watch_public_jwks(watch).await),
    ];
    assert_eq!(codes, [Code::PermissionDenied; 7]);
}

#[tokio::test]
async fn garbage_does_not_end_the_service() {
    let service = KeyService::with_rings(&[RING]);
    let address = service.running.tcp_address().unwrap();
    for turn in 0..200_usize {
        let mut stream = TcpStream::connect(address).unwrap();
        let garbage: &[u8] = match turn % 4 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\n\r\n",
            2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _ => &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3],
        };
        // It may have been closed already.
        let _ = stream.write_all(garbage);
    }
    let mut keys = service.keys().await;
    assert!(sign(&mut keys, RING, service.now()).await.is_ok());
}

#[tokio::test]
async fn too_long_a_message_is_refused() {
    let service = KeyService::with_rings(&[RING]);
    let mut keys = service.keys().await;
    let mut long = item(RING, Profile::IdToken, &id_token(service.now()));
    long.claims = vec![b' '; 300 * 1024].into();
    let refused = keys
        .sign(v1::SignRequest { items: vec![long] })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(sign(&mut keys, RING, service.now()).await.is_ok());
}

#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart() {
    let service = KeyService::with_rings(&[RING]);
    let mut before = service.keys().await;
    let renewed = Authority::new("the next CA").unwrap();
    std::fs::write(
        service.folder.path().join("ca.pem"),
        renewed.certificate_pem(),
    )
    .unwrap();
    write_certificate(service.folder.path(), &service.authority);
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while ask(service.channel(&caller(&renewed, GATEWAY)).await)
        .await
        .is_err()
    {
        assert!(std::time::Instant::now() < until, "the new CA is not known");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        ask(service.channel(&caller(&service.authority, GATEWAY)).await).await,
        Err(None)
    );
    // A connection that is there goes on until it is old.
    assert_eq!(jwks(&mut before).await.keys.len(), 2);
}

#[tokio::test]
async fn a_local_user_calls_over_the_unix_socket() {
    let service = KeyService::with_rings(&[RING]);
    let socket = service.folder.path().join("socket");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    assert!(
        sign(
            &mut KeyServiceClient::new(channel.clone()),
            RING,
            service.now()
        )
        .await
        .is_ok()
    );
    let refused = KeyAdminClient::new(channel).info(v1::InfoRequest {}).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    drop(service);
    assert!(!socket.exists());
}
