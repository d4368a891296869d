//! The Sign call alone, by algorithm and by how many are in flight, as the gateway makes it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{Profile, SignItem, SignRequest, sign_item};
use serde_json::json;
use support::launch::Stack;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::load::Bench;

const RINGS: &[(&str, Profile)] = &[
    ("id-token/ES256", Profile::IdToken),
    ("id-token/RS256", Profile::IdToken),
];

/// All of them.
pub(crate) async fn measure(bench: &Bench, stack: &Stack, issuer: &str) -> anyhow::Result<()> {
    let client = KeyServiceClient::new(connect(stack)?);
    for (ring, profile) in RINGS {
        let name = format!("Sign {ring}");
        for in_flight in [1, 16, 64] {
            let request = request(ring, *profile, issuer)?;
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

fn connect(stack: &Stack) -> anyhow::Result<Channel> {
    let file = |name: &str| fs::read(stack.folder().join("pki").join(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(file("ca.pem")?))
        .identity(Identity::from_pem(
            file("gateway.pem")?,
            file("gateway.key")?,
        ))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", stack.keys_port()))?;
    Ok(endpoint.tcp_nodelay(true).tls_config(tls)?.connect_lazy())
}

/// An ID token's claims of a usual size.
fn request(ring: &str, profile: Profile, issuer: &str) -> anyhow::Result<SignRequest> {
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
        profile: profile.into(),
        key: Some(sign_item::Key::Ring(ring.to_owned())),
        claims: serde_json::to_vec(&claims)?.into(),
        ..SignItem::default()
    };
    Ok(SignRequest { items: vec![item] })
}
