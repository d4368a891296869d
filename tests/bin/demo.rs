//! `make demo`: Signet with its keys in a SoftHSM token, over TLS, and a relying party to sign in to.
//!
//! Takes the variables of `make stack`, with other defaults: `BACKEND=softhsm`, `TLS=1`, `STORE=memory` (`redis` when
//! `REDIS_URL` is set), `ISSUER=https://localhost:8443`, `FOLDER=target/demo`; and `RELYING_PARTY_PORT=8081`.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use serde_json::json;
use support::launch::{
    self, Asked, Client, Defaults, PASSWORD, Parts, Process, Settings, Stack, User,
};

fn main() -> ExitCode {
    launch::main(run)
}

async fn run() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let defaults = Defaults {
        profile: "demo",
        backend: "softhsm",
        store: if variable("REDIS_URL").is_some() {
            "redis"
        } else {
            "memory"
        },
        tls: "1",
        authority: "localhost:8443",
        build: "debug",
    };
    let settings = Settings::of(&defaults, variable)?;
    let issuer = settings.issuer.clone();
    let port = variable("RELYING_PARTY_PORT").map_or(Ok(8081), |port| port.parse())?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!("port {port} is taken: end what listens there, or set RELYING_PARTY_PORT")
    })?;
    let own_url = format!("http://127.0.0.1:{port}");
    let client = Client::new(
        "demo",
        &format!("{own_url}/callback"),
        json!({
            "client_name": "Demo relying party",
            "post_logout_redirect_uris": [format!("{own_url}/")],
            "id_token_signed_response_alg": "ES256",
            "consent": "explicit",
        }),
    )?;
    let demo = User {
        username: "demo".to_owned(),
        name: "Dana Demo".to_owned(),
    };
    let mut users = User::measured();
    users.insert(0, demo);
    let parts = Parts {
        clients: vec![client.clone()],
        users,
    };

    let mut asked = Asked::listen()?;
    let mut stack = tokio::select! {
        stack = Stack::start(settings, parts) => stack?,
        () = asked.to_end() => return Ok(()),
    };
    let rotate = format!("{} rotate id-token/ES256", stack.admin().join(" "));
    let mut command = Command::new(std::env::current_exe()?.with_file_name("relying-party"));
    command
        .env("CLIENT_SECRET", &client.secret)
        .args(["--issuer", &issuer, "--client-id", &client.id])
        .args(["--port", &port.to_string()])
        .arg("--ca")
        .arg(stack.ca())
        .args(["--location", &stack.location(), "--rotate", &rotate]);
    let relying_party = Process::start("relying-party", &command, stack.folder())?;
    let mut others = [relying_party];
    let told = stack
        .tell(json!({"relying_party": own_url}))?
        .display()
        .to_string();
    writeln!(
        std::io::stdout(),
        "\n  Open         {own_url}/\n  \
           Sign in as   demo\n  \
           Password     {PASSWORD}\n\n  \
           Issuer       {issuer}\n  \
           Its CA       {ca}\n               \
           (made for this machine; import it, or accept the browser's warning)\n  \
           Keys live in {location}\n\n  \
           Rotate the key, wait five seconds, sign in again: the kid is another.\n    {rotate}\n\n  \
           For programs {told}\n  \
           Ctrl-C ends it all.\n",
        ca = stack.ca().display(),
        location = stack.location(),
    )?;
    tokio::select! {
        () = asked.to_end() => {}
        died = stack.wait(&mut others) => died?,
    }
    drop(others);
    stack.end()
}
