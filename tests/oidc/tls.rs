//! S4-4: the gateway's own TLS (RFC 9325): what is negotiated, what is refused, and certificates that are read again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::web::{connect, gateway, send};

/// A folder with a certificate of a new authority, which is returned as DER.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let authority = pki::Authority::new("test").unwrap();
    let leaf = pki::Leaf {
        common_name: "web",
        dns: &["localhost"],
        server: true,
        ..pki::Leaf::default()
    };
    let issued = authority.issue(&leaf).unwrap();
    std::fs::write(folder.join("web.pem"), issued.certificate_pem).unwrap();
    std::fs::write(folder.join("web.key"), issued.key_pem).unwrap();
    CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()
}

type Version = &'static rustls::SupportedProtocolVersion;

struct Client<'a> {
    versions: &'a [Version],
    suite: &'a str,
    protocols: &'a [&'a str],
}

/// The negotiated suite and protocol.
fn handshake(
    address: SocketAddr,
    authority: &CertificateDer<'static>,
    client: &Client<'_>,
) -> Result<(String, String), std::io::Error> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| format!("{:?}", suite.suite()).contains(client.suite));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(client.versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = client
        .protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = connect(address);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let suite = connection.negotiated_cipher_suite().unwrap().suite();
    let protocol = connection.alpn_protocol().unwrap_or_default();
    Ok((
        format!("{suite:?}"),
        String::from_utf8_lossy(protocol).into_owned(),
    ))
}

#[test]
fn tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = certificate(folder.path());
    let listen = "tls = { certificate_file = \"web.pem\", key_file = \"web.key\" }\n\
                  [listen.limits]\nhandshake_timeout = \"1s\"\n";
    let gateway = gateway(folder.path(), "https://localhost", listen);
    let (v12, v13): (&[Version], &[Version]) =
        (&[&rustls::version::TLS12], &[&rustls::version::TLS13]);
    type Row<'a> = (
        &'a [Version],
        &'a str,
        &'a [&'a str],
        Option<(&'a str, &'a str)>,
    );
    let rows: &[Row<'_>] = &[
        (
            v13,
            "",
            &["h2", "http/1.1"],
            Some(("TLS13_AES_256_GCM_SHA384", "h2")),
        ),
        (
            v13,
            "",
            &["http/1.1"],
            Some(("TLS13_AES_256_GCM_SHA384", "http/1.1")),
        ),
        (
            v13,
            "TLS13_AES_128_GCM",
            &[],
            Some(("TLS13_AES_128_GCM_SHA256", "")),
        ),
        (
            v12,
            "ECDSA_WITH_AES_128_GCM",
            &[],
            Some(("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "")),
        ),
        (
            v12,
            "ECDSA_WITH_AES_256_GCM",
            &["h2"],
            Some(("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "h2")),
        ),
        (v12, "CHACHA20", &[], None),
        (v13, "", &["spdy/3"], None),
    ];
    for (versions, suite, protocols, expected) in rows {
        let client = Client {
            versions,
            suite,
            protocols,
        };
        let negotiated = handshake(gateway.address, &authority, &client).ok();
        let expected = expected.map(|(suite, protocol)| (suite.to_owned(), protocol.to_owned()));
        assert_eq!(negotiated, expected, "{versions:?} {suite} {protocols:?}");
    }

    // What is no TLS ends, what says nothing ends, and the others do not notice.
    assert!(!send(gateway.address, "GET / HTTP/1.1\r\n\r\n").contains("HTTP"));
    assert!(send(gateway.address, "").is_empty());

    let modern = Client {
        versions: v13,
        suite: "",
        protocols: &[],
    };
    let next = certificate(folder.path());
    gateway.reload_certificate();
    assert!(
        handshake(gateway.address, &next, &modern).is_ok(),
        "the new certificate"
    );
    assert!(
        handshake(gateway.address, &authority, &modern).is_err(),
        "not the old one"
    );

    // A certificate that cannot be used changes nothing.
    std::fs::write(folder.path().join("web.pem"), "nonsense").unwrap();
    gateway.reload_certificate();
    assert!(handshake(gateway.address, &next, &modern).is_ok());
    gateway.shutdown();
}
