//! `pki DIR`: makes the development CA and the certificates of both services, and keeps what is still good.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

/// Makes ca, key-service, gateway, admin and web certificates in a folder; keeps what is valid for more than 7 days.
#[derive(Parser)]
#[command(name = "pki")]
struct Arguments {
    /// Where the files go: NAME.pem and NAME.key.
    folder: PathBuf,
    /// A further DNS name of the gateway's web certificate, beside localhost. May be repeated.
    #[arg(long = "dns", value_name = "NAME")]
    names: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    let written = pki::ensure(&arguments.folder, &names)
        .with_context(|| format!("cannot make certificates in {}", arguments.folder.display()))?;
    let report = if written.is_empty() {
        "nothing to do".to_owned()
    } else {
        format!("made {}", written.join(", "))
    };
    writeln!(
        std::io::stdout(),
        "{}: {report}",
        arguments.folder.display()
    )?;
    Ok(())
}
