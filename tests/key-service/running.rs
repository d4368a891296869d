//! A key-service in this process: real sockets, real mutual TLS, software keys in a folder that goes away with it, and a
//! clock that can be moved.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use key_service::backend;
use key_service::clock::Clock;
use key_service::config::Config;
use key_service::serve::{Running, Service};
use pki::{Authority, Issued, Leaf};
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, sign_item};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const TOKEN_ISSUER: &str = "itsyouonline";
pub(crate) const GATEWAY: &str = "spiffe://signet/oidc-gateway";
pub(crate) const OPERATOR: &str = "spiffe://signet/admin";
/// Seconds that a key is published before it signs.
pub(crate) const LEAD: i64 = 100;
/// Seconds until a key that is made is seen by every replica.
pub(crate) const GENERATION: i64 = 10;

pub(crate) struct KeyService {
    pub(crate) running: Running,
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
}

impl KeyService {
    /// One that has these rings, all for ID tokens where they sign.
    pub(crate) fn with_rings(rings: &[&str]) -> KeyService {
        let profiles = "profiles = [\"id_token\", \"access_token\", \"logout_token\"]";
        let tables: Vec<String> = rings
            .iter()
            .map(|ring| match ring.split_once('/') {
                Some((_, alg))
                    if ["RSA-OAEP", "ECDH-ES", "A256GCM"]
                        .iter()
                        .any(|it| alg.starts_with(it)) =>
                {
                    format!("[[rings]]\nname = \"{ring}\"\n")
                }
                _ => format!("[[rings]]\nname = \"{ring}\"\n{profiles}\n"),
            })
            .collect();
        KeyService::start(&tables.concat())
    }

    /// One that has these further tables in its configuration.
    pub(crate) fn start(tables: &str) -> KeyService {
        KeyService::configured(tables, |_| ())
    }

    /// The same with its keys elsewhere.
    pub(crate) fn start_at(home: &backend::Settings, tables: &str) -> KeyService {
        KeyService::configured(tables, |config| config.backend = home.clone())
    }

    /// One whose configuration is changed before it starts.
    pub(crate) fn configured(tables: &str, change: impl FnOnce(&mut Config)) -> KeyService {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test CA").unwrap();
        write_certificate(folder.path(), &authority);
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, "correct horse battery staple").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        let clock = Clock::movable();
        let mut config = Config::parse(&configuration(tables), folder.path()).unwrap();
        change(&mut config);
        KeyService {
            running: Service::start_at(&config, clock.clone()).unwrap(),
            authority,
            clock,
            folder,
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    pub(crate) async fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(
            self.channel(&caller(&self.authority, GATEWAY))
                .await
                .unwrap(),
        )
    }

    pub(crate) async fn admin(&self) -> KeyAdminClient<Channel> {
        KeyAdminClient::new(
            self.channel(&caller(&self.authority, OPERATOR))
                .await
                .unwrap(),
        )
    }

    pub(crate) async fn channel(
        &self,
        issued: &Issued,
    ) -> Result<Channel, tonic::transport::Error> {
        let identity = Identity::from_pem(&issued.certificate_pem, &issued.key_pem);
        self.connect(ClientTlsConfig::new().identity(identity))
            .await
    }

    pub(crate) async fn connect(
        &self,
        tls: ClientTlsConfig,
    ) -> Result<Channel, tonic::transport::Error> {
        self.endpoint(tls)?.connect().await
    }

    pub(crate) fn endpoint(
        &self,
        tls: ClientTlsConfig,
    ) -> Result<Endpoint, tonic::transport::Error> {
        let address = self.running.tcp_address().unwrap();
        let tls = tls
            .ca_certificate(Certificate::from_pem(self.authority.certificate_pem()))
            .domain_name("localhost");
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)
    }
}

pub(crate) fn write_certificate(folder: &Path, authority: &Authority) {
    let issued = authority
        .issue(&Leaf {
            common_name: "key-service",
            dns: &["localhost"],
            server: true,
            ..Leaf::default()
        })
        .unwrap();
    fs::write(folder.join("key-service.pem"), issued.certificate_pem).unwrap();
    support::softhsm::write_secret(&folder.join("key-service.key"), &issued.key_pem);
}

pub(crate) fn caller(authority: &Authority, uri: &str) -> Issued {
    let leaf = Leaf {
        common_name: "caller",
        uris: &[uri],
        client: true,
        ..Leaf::default()
    };
    authority.issue(&leaf).unwrap()
}

fn configuration(tables: &str) -> String {
    let uid = nix::unistd::geteuid();
    format!(
        r#"
workers = 2

[listen]
tcp = "127.0.0.1:0"
unix = "socket"
# A client on the thread that ends the service cannot say goodbye.
drain = "200ms"

[tls]
certificate_file = "key-service.pem"
key_file = "key-service.key"
client_ca_file = "ca.pem"

[[callers.allow]]
name = "gateway"
san = "{GATEWAY}"
services = ["keys"]
rings = ["*"]

[[callers.allow]]
name = "stranger"
san = "spiffe://signet/stranger"
services = ["keys"]
rings = []

[[callers.allow]]
name = "operator"
san = "{OPERATOR}"
services = ["admin"]
rings = ["*"]
imports = true

[[callers.allow]]
name = "local"
uid = {uid}
services = ["keys"]
rings = ["*"]

[backend]
kind = "software"
directory = "keys"
passphrase_file = "passphrase"

[lifecycle]
lead = "{LEAD}s"
jwks_max_age = "50s"
gateway_refresh = "10s"
skew = "10s"
generation = "{GENERATION}s"
longest_token_life = "1h"
retention = "2h"

[policy]
issuer = "{ISSUER}"
token_issuer = "{TOKEN_ISSUER}"

[metrics]
address = "127.0.0.1:0"

{tables}
"#
    )
}

/// The claims of an ordinary ID token.
pub(crate) fn id_token(now: i64) -> Value {
    json!({ "iss": ISSUER, "sub": "alice", "aud": "client", "exp": now + 600, "iat": now })
}

pub(crate) fn item(ring: &str, profile: v1::Profile, claims: &Value) -> v1::SignItem {
    v1::SignItem {
        profile: profile.into(),
        key: Some(sign_item::Key::Ring(ring.to_owned())),
        claims: claims.to_string().into(),
        ..v1::SignItem::default()
    }
}

/// Signs an ID token.
pub(crate) async fn sign(
    keys: &mut KeyServiceClient<Channel>,
    ring: &str,
    now: i64,
) -> Result<v1::Signed, Status> {
    let items = vec![item(ring, v1::Profile::IdToken, &id_token(now))];
    let mut response = keys.sign(v1::SignRequest { items }).await?.into_inner();
    Ok(response.items.remove(0))
}

/// A secret of somebody's, sealed so that it can be used and never told.
pub(crate) async fn wrapped(
    keys: &mut KeyServiceClient<Channel>,
    context: &str,
    secret: &[u8],
    alg: &str,
) -> v1::WrappedSecret {
    let request = v1::WrapRequest {
        plaintext: secret.to_vec().into(),
        to: Some(v1::wrap_request::To::Context(context.to_owned())),
    };
    v1::WrappedSecret {
        sealed: keys.wrap(request).await.unwrap().into_inner().compact,
        context: context.to_owned(),
        alg: alg.to_owned(),
    }
}

/// A request to verify a compact JWS.
pub(crate) fn verification(
    token: &str,
    alg: &str,
    key: v1::verify_request::Key,
) -> v1::VerifyRequest {
    let jws = v1::CompactJws {
        token: token.to_owned(),
        typ: vec!["JWT".to_owned()],
        alg: vec![alg.to_owned()],
    };
    v1::VerifyRequest {
        subject: Some(v1::verify_request::Subject::CompactJws(jws)),
        key: Some(key),
    }
}

pub(crate) async fn jwks(keys: &mut KeyServiceClient<Channel>) -> v1::PublicJwksResponse {
    let request = v1::PublicJwksRequest::default();
    keys.public_jwks(request).await.unwrap().into_inner()
}
