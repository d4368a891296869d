//! The key-service alone: Sign by home of keys, algorithm and number in flight, beside the same module asked without a
//! service, in one run; what the audit log costs; and whether many keys in a token slow it down.

mod home;
mod raw;
mod service;

use std::path::Path;

use self::home::{Home, Kind};
pub(crate) use self::raw::{SUBCOMMAND, main as raw};
use self::service::{Durability, Service};
use crate::load::Bench;
use crate::sign;

/// What everything at once is compared at.
const IN_FLIGHT: [usize; 3] = [1, 16, 64];
/// Objects of others that a token gets for the last rows.
const STRANGERS: usize = 1000;
/// How often a token with them and one without take turns.
const TURNS: usize = 9;

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
    let bare = service
        .bare(bench, &format!("{} bare call", kind.name()))
        .await?;
    for ring in kind.rings() {
        let mut at_16 = None;
        for in_flight in IN_FLIGHT {
            let name = signs(kind, ring);
            let figures = service.sign(bench, &name, ring, in_flight).await?;
            if in_flight == 16 {
                at_16 = figures;
            }
        }
        let Some(at_16) = at_16 else {
            continue;
        };
        let algorithm = sign::algorithm(ring);
        if let Some(raw) = raw::measure(bench, &home, algorithm)? {
            bench.compare(&format!("{} {algorithm}", kind.name()), at_16, raw, bare)?;
        }
    }
    service.end()
}

async fn audit(bench: &mut Bench, programs: &Path) -> anyhow::Result<()> {
    let mut without = None;
    for durability in [Durability::None, Durability::Write, Durability::Fsync] {
        let folder = tempfile::tempdir_in(programs)?;
        let home = Home::make(Kind::Software, folder.path())?;
        let service = Service::start(programs, &home, folder.path(), durability).await?;
        bench.watch([service.process()])?;
        for in_flight in IN_FLIGHT {
            let name = audits(durability);
            let before = service.audited().await?;
            let figures = service
                .sign(bench, &name, "id-token/ES256", in_flight)
                .await?;
            let after = service.audited().await?;
            if in_flight != 16 {
                continue;
            }
            match (durability, without, figures) {
                (Durability::None, _, figures) => without = figures,
                (_, Some(without), Some(figures)) => {
                    bench.audited(durability.name(), figures, without, before, after)?;
                }
                _ => {}
            }
        }
        service.end()?;
    }
    Ok(())
}

/// Two tokens, in turn: what a machine with neighbours does to one it does to the other.
async fn among_strangers(bench: &mut Bench, programs: &Path, kind: Kind) -> anyhow::Result<()> {
    let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (alone, among) = (
        Home::make(kind, folders.0.path())?,
        Home::make(kind, folders.1.path())?,
    );
    raw::add_strangers(&among, STRANGERS)?;
    let alone = Service::start(programs, &alone, folders.0.path(), Durability::Write).await?;
    let among = Service::start(programs, &among, folders.1.path(), Durability::Write).await?;
    let mut pairs = Vec::new();
    for _ in 0..TURNS {
        let mut pair = Vec::new();
        for (service, strangers) in [(&alone, 0), (&among, STRANGERS)] {
            bench.watch([service.process()])?;
            let name = among_name(kind, strangers);
            pair.extend(service.sign(bench, &name, "id-token/ES256", 16).await?);
        }
        if let [without, with] = pair[..] {
            pairs.push((without, with));
        }
    }
    if !pairs.is_empty() {
        bench.beside(&format!("{} {STRANGERS} others", kind.name()), &pairs)?;
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
