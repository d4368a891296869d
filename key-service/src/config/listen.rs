//! `[listen]` and `[tls]`: sockets, the limits of a connection, and certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// Where to listen, and the limits of a connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port; port 0 takes any.
    pub tcp: Option<SocketAddr>,
    /// Path of a Unix socket, whose callers are known by their user id.
    pub unix: Option<PathBuf>,
    /// Permissions of the socket, in octal.
    #[serde(default = "default_unix_mode")]
    pub unix_mode: String,
    /// Longest request message, in octets.
    #[serde(default = "default_message_size")]
    pub message_size: usize,
    /// Calls at a time on one connection, and as many requests on its stream of signatures.
    #[serde(default = "default_streams")]
    pub concurrent_streams: u32,
    /// Connections at a time, on all workers together.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Longest TLS handshake.
    #[serde(default = "default_handshake", with = "duration")]
    pub handshake_timeout: Duration,
    /// How often a silent peer is asked whether it is there.
    #[serde(default = "default_keep_alive", with = "duration")]
    pub keep_alive: Duration,
    /// After this age a connection is asked to end, so that certificates are checked again.
    #[serde(default = "default_age", with = "duration")]
    pub connection_age: Duration,
    /// How long requests may go on after the service was told to end.
    #[serde(default = "default_drain", with = "duration")]
    pub drain: Duration,
}

/// The service's certificate, and whose certificates it accepts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM: the certificate and its chain.
    pub certificate_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    /// PEM: the authorities that sign callers' certificates.
    pub client_ca_file: PathBuf,
    /// PEM: certificates that are revoked.
    pub crl_file: Option<PathBuf>,
    /// `1.3`, or `1.2` where a caller cannot do better.
    #[serde(default)]
    pub minimum_version: TlsVersion,
}

/// The oldest version of TLS to accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// RFC 8446 alone.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
    /// RFC 5246 too.
    #[serde(rename = "1.2")]
    Tls12,
}

impl Listen {
    /// Permissions of the Unix socket.
    pub(crate) fn unix_mode(&self) -> Option<u32> {
        u32::from_str_radix(&self.unix_mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
    }
}

fn default_unix_mode() -> String {
    "0660".to_owned()
}
fn default_message_size() -> usize {
    256 * 1024
}
fn default_streams() -> u32 {
    256
}
fn default_connections() -> usize {
    1024
}
fn default_handshake() -> Duration {
    Duration::from_secs(5)
}
fn default_keep_alive() -> Duration {
    Duration::from_secs(30)
}
fn default_age() -> Duration {
    Duration::from_secs(3600)
}
fn default_drain() -> Duration {
    Duration::from_secs(10)
}
