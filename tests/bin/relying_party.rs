//! A small relying party to sign in to: the demo's, and a foreign one for the browser test.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use support::http;
use support::relying_party::{self, RelyingParty, Settings};
use tokio::net::TcpListener;

/// Serves a page with "Sign in with Signet" on loopback. The client's secret comes from CLIENT_SECRET.
#[derive(Parser)]
#[command(name = "relying-party")]
struct Arguments {
    /// The OpenID Provider.
    #[arg(long)]
    issuer: String,
    /// CA that the provider's certificate is trusted by, PEM.
    #[arg(long)]
    ca: PathBuf,
    /// This client.
    #[arg(long)]
    client_id: String,
    /// Loopback port to listen on.
    #[arg(long)]
    port: u16,
    /// Shown: where the signing key lives.
    #[arg(long, default_value = "the provider knows")]
    location: String,
    /// Shown: the command that rotates it.
    #[arg(long, default_value = "")]
    rotate: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let client_secret = std::env::var("CLIENT_SECRET").context("CLIENT_SECRET is not set")?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    let own_url = format!("http://{}", listener.local_addr()?);
    let settings = Settings {
        issuer: arguments.issuer,
        client_id: arguments.client_id,
        client_secret,
        own_url: own_url.clone(),
        location: arguments.location,
        rotate: arguments.rotate,
    };
    let relying_party = RelyingParty::new(settings, http::Client::new(&arguments.ca)?);
    writeln!(std::io::stdout(), "listening on {own_url}")?;
    relying_party::serve(relying_party, listener).await
}
