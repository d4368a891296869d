//! The key-service alone: Sign by home of keys, algorithm and number in flight, beside the same module asked without a
//! service, in one run; what the audit log costs; and whether many keys in a token slow it down.

mod home;
mod raw;
mod service;

use std::path::Path;
use std::time::Duration;

use self::home::{Home, Kind};
pub(crate) use self::raw::{SUBCOMMAND, main as raw};
use self::service::{Durability, Service};
use crate::load::{Bench, Figures, Turn};
use crate::sign;

/// What is compared.
const RING: &str = "id-token/ES256";
/// Objects of others that a token gets for the last rows.
const STRANGERS: usize = 1000;
/// In which a token is listed once.
const LISTING: Duration = Duration::from_secs(30);
/// How often those that are compared take turns: what a machine with neighbours does to one it does to the other.
const TURNS: usize = 5;

/// All of it.
pub(crate) async fn measure(bench: &mut Bench, programs: &Path) -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let mut rings = kind.rings().iter();
        if rings.any(|ring| bench.is_wanted(&signs(kind, ring))) {
            by_algorithm(bench, programs, kind).await?;
        }
    }
    if bench.is_wanted(&audits(Durability::Write)) {
        audit(bench, programs).await?;
    }
    for kind in [Kind::SoftHsm, Kind::Kryoptic] {
        if bench.is_wanted(&among_name(kind, STRANGERS)) {
            among_strangers(bench, programs, kind).await?;
        }
    }
    Ok(())
}

async fn by_algorithm(bench: &mut Bench, programs: &Path, kind: Kind) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let home = Home::make(kind, folder.path())?;
    let service = Service::start(programs, &home, folder.path(), Durability::Write).await?;
    bench.watch([service.process()])?;
    for ring in kind.rings() {
        let name = signs(kind, ring);
        for in_flight in [1, 64] {
            service.sign(bench, &name, ring, in_flight).await?;
        }
        let algorithm = sign::algorithm(ring);
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let Some(asked) = service.sign(bench, &name, ring, 16).await? else {
                break;
            };
            let call = format!("{} bare call", kind.name());
            let bare = service.bare(bench, &call).await?;
            let Some(raw) = raw::measure(bench, &home, algorithm)? else {
                break;
            };
            turns.push(Turn {
                service: asked,
                raw,
                bare,
            });
        }
        bench.compare(&format!("{} {algorithm}", kind.name()), &turns)?;
    }
    service.end()
}

async fn audit(bench: &mut Bench, programs: &Path) -> anyhow::Result<()> {
    for durability in [Durability::Write, Durability::Fsync] {
        let mut services = Vec::new();
        for durability in [Durability::None, durability] {
            let folder = tempfile::tempdir_in(programs)?;
            let home = Home::make(Kind::Software, folder.path())?;
            let service = Service::start(programs, &home, folder.path(), durability).await?;
            services.push((audits(durability), service, folder));
        }
        let [(name, without, _), (audited, with, _)] = &services[..] else {
            unreachable!("two were started");
        };
        let before = with.audited().await?;
        let turns = in_turns(bench, [(name, without), (audited, with)]).await?;
        bench.audited(durability.name(), &turns, before, with.audited().await?)?;
        for in_flight in [1, 64] {
            with.sign(bench, audited, RING, in_flight).await?;
        }
        for (_, service, _) in services {
            service.end()?;
        }
    }
    Ok(())
}

/// Sign by two services, as often by one as by the other; nothing unless both are wanted.
async fn in_turns(
    bench: &mut Bench,
    services: [(&str, &Service); 2],
) -> anyhow::Result<Vec<(Figures, Figures)>> {
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let mut turn = Vec::new();
        for (name, service) in services {
            bench.watch([service.process()])?;
            turn.extend(service.sign(bench, name, RING, 16).await?);
        }
        if let [one, other] = turn[..] {
            turns.push((one, other));
        }
    }
    Ok(turns)
}

async fn among_strangers(bench: &mut Bench, programs: &Path, kind: Kind) -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (alone, among) = (
        Home::make(kind, folders.0.path())?,
        Home::make(kind, folders.1.path())?,
    );
    raw::add_strangers(&among, STRANGERS)?;
    let alone = Service::start(programs, &alone, folders.0.path(), Durability::Write).await?;
    let among = Service::start(programs, &among, folders.1.path(), Durability::Write).await?;
    let names = [0, STRANGERS].map(|strangers| among_name(kind, strangers));
    let turns = in_turns(bench, [(&names[0], &alone), (&names[1], &among)]).await?;
    let name = format!("{} {STRANGERS} others", kind.name());
    bench.beside(&name, &turns)?;
    if !turns.is_empty() {
        let processes = [alone.process(), among.process()];
        bench.at_rest(&name, processes, LISTING).await?;
    }
    alone.end()?;
    among.end()
}

fn signs(kind: Kind, ring: &str) -> String {
    format!("{} Sign {ring}", kind.name())
}

fn audits(durability: Durability) -> String {
    format!("audit {}: Sign id-token/ES256", durability.name())
}

fn among_name(kind: Kind, strangers: usize) -> String {
    format!("{} Sign id-token/ES256, {strangers} others", kind.name())
}
