//! The gateway's HTTP, below OAuth: what ambiguous, slow, large and late requests get (RFC 9110, 9112, 9113), and how
//! it ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use oidc_gateway::clock::Clock;
use oidc_gateway::config::Config;
use oidc_gateway::serve::{self, Running};

const PATIENCE: Duration = Duration::from_secs(5);

/// A gateway with these settings in `[listen]`; nothing here needs its key-service.
pub(crate) fn gateway(folder: &Path, issuer: &str, listen: &str) -> Running {
    let file = folder.join("gateway.toml");
    let text = format!(
        "issuer = \"{issuer}\"\nworkers = 1\n[keys]\nendpoint = \"unix:nobody.sock\"\n\
         [listen]\naddress = \"127.0.0.1:0\"\n{listen}"
    );
    std::fs::write(&file, text).unwrap();
    serve::start(Config::load(&file).unwrap(), Clock::system()).unwrap()
}

fn plain(limits: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("[listen.limits]\n{limits}\n");
    gateway(folder.path(), "http://127.0.0.1:8080", &listen)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes back until the connection is closed.
pub(crate) fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream)
}

fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            // The peer closed while octets of ours were unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn one_answer_for_each_request() {
    let gateway = plain(
        "header_timeout = \"1s\"\nbody_timeout = \"1s\"\nbody_size = 4096\nheader_size = 8192",
    );
    let live = "GET /health/live HTTP/1.1\r\nHost: a\r\n";
    let form =
        "POST /token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let second = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";
    let long = "a".repeat(9000);
    let many = "a=1&".repeat(101);
    let rows: &[(&str, String, &[&str])] = &[
        (
            "control",
            format!("{live}Connection: close\r\n\r\n"),
            &["200"],
        ),
        (
            "two",
            format!("{live}\r\n{live}Connection: close\r\n\r\n"),
            &["200", "200"],
        ),
        (
            "length and chunks",
            format!(
                "{form}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"
            ),
            &["401"],
        ),
        (
            "chunks and length",
            format!(
                "{form}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{second}"
            ),
            &["401"],
        ),
        (
            "two lengths",
            format!("{form}Content-Length: 0\r\nContent-Length: 9\r\n\r\n{second}"),
            &["400"],
        ),
        (
            "+5",
            format!("{form}Content-Length: +5\r\n\r\nabcde"),
            &["400"],
        ),
        (
            "negative",
            format!("{form}Content-Length: -1\r\n\r\n"),
            &["400"],
        ),
        (
            "unknown coding",
            format!("{form}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            &["400"],
        ),
        (
            "1.0 with chunks",
            "POST /token HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            &["400"],
        ),
        (
            "folded header",
            format!("{live}A: b\r\n c\r\n\r\n"),
            &["400"],
        ),
        (
            "space before colon",
            format!("{live}A : b\r\n\r\n"),
            &["400"],
        ),
        (
            "no such version",
            "GET / HTTP/3.7\r\n\r\n".to_owned(),
            &["400"],
        ),
        (
            "no host",
            format!("GET /health/live HTTP/1.1\r\n\r\n{second}"),
            &["400"],
        ),
        (
            "two hosts",
            format!("{live}Host: a\r\n\r\n{second}"),
            &["400"],
        ),
        (
            "1.0 needs none",
            "GET /health/live HTTP/1.0\r\n\r\n".to_owned(),
            &["200"],
        ),
        (
            "garbage",
            "\u{16}\u{3}\u{1}\u{0}\r\n\r\n".to_owned(),
            &["400"],
        ),
        (
            "large headers",
            format!("{live}A: {long}\r\n\r\n"),
            &["431"],
        ),
        (
            "large body",
            format!("{form}Content-Length: 5000\r\n\r\n"),
            &["413"],
        ),
        (
            "large chunks",
            format!(
                "{form}Transfer-Encoding: chunked\r\n\r\n1388\r\n{}\r\n0\r\n\r\n",
                &long[..5000]
            ),
            &["413"],
        ),
        (
            "many parameters",
            format!(
                "{form}Connection: close\r\nContent-Length: {}\r\n\r\n{many}",
                many.len()
            ),
            &["400"],
        ),
        (
            "unknown path",
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            &["404"],
        ),
        (
            "other method",
            "PUT /token HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            &["405"],
        ),
        (
            "HEAD of a page",
            "HEAD /authorize HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            &["405"],
        ),
        (
            "asterisk",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
            &["404"],
        ),
        (
            "tunnel",
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            &["404"],
        ),
        (
            "upgrade",
            format!(
                "{live}Connection: close, Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
            &["200"],
        ),
        (
            "slow body",
            format!("{form}Content-Length: 9\r\n\r\na=1"),
            &["408"],
        ),
        ("slow headers", format!("{live}A: "), &[]),
        ("silence", String::new(), &[]),
    ];
    thread::scope(|scope| {
        for (name, request, expected) in rows {
            scope.spawn(move || {
                let answer = send(gateway.address, request);
                let statuses: Vec<&str> = answer
                    .split("HTTP/1.")
                    .skip(1)
                    .filter_map(|one| one.split(' ').nth(1))
                    .collect();
                assert_eq!(&statuses, expected, "{name}: {answer}");
            });
        }
    });
    gateway.shutdown();
}

#[test]
fn headers_of_every_answer() {
    let gateway = plain("");
    for path in [
        "/health/live",
        "/x",
        "/token",
        "/authorize?client_id=nobody",
        "/jwks",
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: evil.test\r\nX-Request-Id: mine-1\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = send(gateway.address, &request);
        for line in [
            "\r\ncache-control: no-store\r\n",
            "\r\nx-content-type-options: nosniff\r\n",
            "\r\nx-request-id: mine-1\r\n",
        ] {
            assert!(answer.contains(line), "{path} lacks {line:?}: {answer}");
        }
        assert!(!answer.contains("evil.test"), "{path}: {answer}");
        let is_page = path.starts_with("/authorize");
        assert_eq!(
            answer.contains("frame-ancestors 'none'"),
            is_page,
            "{path}: {answer}"
        );
    }
    gateway.shutdown();
}

#[test]
fn http2_without_tls() {
    let gateway = plain("header_timeout = \"1s\"\nhandshake_timeout = \"1s\"");
    let mut stream = connect(gateway.address);
    // In two pieces, the first of which might become POST.
    stream.write_all(b"P").unwrap();
    thread::sleep(Duration::from_millis(50));
    stream
        .write_all(b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
    // Idle, it is let go.
    let begun = Instant::now();
    rest(&mut stream);
    assert!(begun.elapsed() < Duration::from_secs(4));
    gateway.shutdown();
}

#[test]
fn the_end_is_graceful() {
    let gateway = plain("drain_timeout = \"5s\"");
    let address = gateway.address;
    let mut idle = connect(address);
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let mut busy = connect(address);
    busy.write_all(b"POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let ending = thread::spawn(move || gateway.shutdown());
    rest(&mut idle);
    assert!(!ending.is_finished(), "it waits for the open request");
    assert!(
        TcpStream::connect(address).is_err(),
        "nothing new is accepted"
    );
    busy.write_all(b"=1").unwrap();
    assert!(rest(&mut busy).starts_with("HTTP/1.1 400"));
    ending.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn more_connections_than_allowed_wait() {
    let gateway = plain("connections = 2");
    let mut first = connect(gateway.address);
    let second = connect(gateway.address);
    let request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    thread::sleep(Duration::from_millis(50));
    let mut third = connect(gateway.address);
    third.write_all(request).unwrap();
    third
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(third.read(&mut [0; 16]).is_err(), "it has to wait");
    drop(second);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(rest(&mut third).starts_with("HTTP/1.1 200"));
    first.write_all(request).unwrap();
    assert!(rest(&mut first).starts_with("HTTP/1.1 200"));
    gateway.shutdown();
}
