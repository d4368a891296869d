//! The Sign call alone, by algorithm and by how many are in flight, as the gateway makes it.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{Profile, SignItem, SignRequest, sign_item};
use serde_json::json;
use support::launch::Stack;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::load::Bench;

const RINGS: &[&str] = &["id-token/ES256", "id-token/RS256"];

/// All of them.
pub(crate) async fn measure(bench: &Bench, stack: &Stack, issuer: &str) -> anyhow::Result<()> {
    let folder = stack.folder().join("pki");
    let client = KeyServiceClient::new(connect(&folder, stack.keys_port())?);
    for ring in RINGS {
        let name = format!("Sign {ring}");
        for in_flight in [1, 16, 64] {
            let request = request(ring, issuer)?;
            bench
                .run(&name, in_flight, |_| {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move {
                        client.sign(request).await?;
                        Ok(())
                    }
                })
                .await?;
        }
    }
    Ok(())
}

/// "ES256" of "id-token/ES256".
pub(crate) fn algorithm(ring: &str) -> &str {
    ring.split_once('/')
        .map_or(ring, |(_, algorithm)| algorithm)
}

/// As the gateway, with the certificates of this folder.
pub(crate) fn connect(pki: &Path, port: u16) -> anyhow::Result<Channel> {
    let file = |name: &str| fs::read(pki.join(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(file("ca.pem")?))
        .identity(Identity::from_pem(
            file("gateway.pem")?,
            file("gateway.key")?,
        ))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).tls_config(tls)?.connect_lazy())
}

/// An ID token's claims of a usual size.
pub(crate) fn request(ring: &str, issuer: &str) -> anyhow::Result<SignRequest> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the key-service compares with its own clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({
        "iss": issuer,
        "sub": "user0",
        "aud": "bench-es256",
        "exp": now + 300,
        "iat": now,
        "auth_time": now,
        "nonce": "n-0S6_WzA2Mjn-0S6_WzA2Mj",
        "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
        "acr": "1",
        "amr": ["pwd"],
    });
    let item = SignItem {
        profile: Profile::IdToken.into(),
        key: Some(sign_item::Key::Ring(ring.to_owned())),
        claims: serde_json::to_vec(&claims)?.into(),
        ..SignItem::default()
    };
    Ok(SignRequest { items: vec![item] })
}
