//! The examination of a home that is asked through [`Device`] alone: software keys, in a folder of their own that goes away
//! again. Of the configured folder only the passphrase and the permissions are tried.

use std::path::PathBuf;

use bytes::Bytes;
use nix::unistd::{AccessFlags, access};

use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::backend::examination::{Examination, Finding, MEASURED, Pace, Plan, Tried, measure};
use crate::backend::{
    self, Device, Error, Label, Peer, PublicKey, StoredKey, Tombstone, TombstoneReason, software,
};
use crate::{jwe, signature};

/// What is signed and encrypted to try a key.
const INPUT: &[u8] = b"doctor";

/// A folder that goes away with this.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is sealed, and of no worth.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn examine(settings: &software::Settings, plan: &Plan) -> Result<Examination, Error> {
    let mut found = Examination {
        description: settings.directory.display().to_string(),
        ..Examination::default()
    };
    found.findings.push(folder(settings)?.essential());
    let mut name = [0; 8];
    aws_lc_rs::rand::fill(&mut name).map_err(|_| Error::Device("no random octets".to_owned()))?;
    let name = format!("signet-doctor-{:016x}", u64::from_ne_bytes(name));
    let folder = Folder(std::env::temp_dir().join(name));
    let device = Device::open(&backend::Settings::Software(software::Settings {
        directory: folder.0.clone(),
        ..settings.clone()
    }))?;
    runtime()?.block_on(try_all(&device, &mut found));
    if !plan.time.is_zero() {
        for algorithm in MEASURED {
            if let Err(error) = pace(&device, algorithm, plan, &mut found) {
                let reason = format!("{algorithm}: {error}");
                found.findings.push(Finding::odd("speed", reason));
            }
        }
    }
    Ok(found)
}

/// Opens the configured folder, unless that would be what begins it: the passphrase of a trial would stay.
fn folder(settings: &software::Settings) -> Result<Finding, Error> {
    let is_unused = settings.is_unused();
    if !is_unused {
        Device::open(&backend::Settings::Software(settings.clone()))?;
    }
    let mut ancestors = settings.directory.ancestors();
    let nearest = ancestors.find(|path| path.exists());
    let can_write = nearest.is_none_or(|path| access(path, AccessFlags::W_OK).is_ok());
    Ok(match (can_write, is_unused) {
        (true, true) => Finding::good("folder", "not used yet: the service begins it"),
        (true, false) => Finding::good("folder", "opened with the passphrase, and can be written"),
        (false, _) => Finding::odd("folder", "cannot be written: no key can be made there"),
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_current_thread().build();
    built.map_err(|error| Error::Unusable(format!("no runtime: {error}")))
}

async fn try_all(device: &Device, found: &mut Examination) {
    for &algorithm in &device.facts().algorithms {
        let outcome = match make(device, algorithm).await {
            Ok(key) => use_key(device, &key).await,
            Err(error) => Err(error),
        };
        found.algorithms.push(Tried {
            algorithm,
            mechanism: device.facts().kind.to_owned(),
            key_sizes: None,
            outcome: outcome.map_err(|error| error.to_string()),
        });
    }
    let buried = bury(device).await;
    found.findings.push(
        match buried {
            Ok(()) => Finding::good("tombstones", "written, and read again"),
            Err(error) => Finding::odd("tombstones", error.to_string()),
        }
        .essential(),
    );
}

async fn make(device: &Device, algorithm: RingAlgorithm) -> Result<StoredKey, Error> {
    let purpose = match algorithm {
        RingAlgorithm::Seal => "seal",
        RingAlgorithm::Mac => crate::algorithm::MAC,
        _ => "signet-doctor",
    };
    let ring = format!("{purpose}/{}", algorithm.as_str());
    let ring = ring.parse().map_err(|_| Error::Unsupported)?;
    let label = Label {
        ring,
        generation: 1,
        created: 0,
    };
    device.generate(&label).await
}

/// Uses a key, and checks the result with its public half outside of the device.
async fn use_key(device: &Device, key: &StoredKey) -> Result<(), Error> {
    let wrong = || Error::Device("it computes something else".to_owned());
    let is_right = match (key.label.ring.algorithm(), &key.public) {
        (RingAlgorithm::Signature(algorithm), Some(public)) => {
            let input = Bytes::from_static(INPUT);
            let signed = device.sign(&key.id, algorithm, input, None).await?;
            signature::verify(algorithm, public, INPUT, &signed).is_ok()
        }
        (RingAlgorithm::Decryption(algorithm), Some(PublicKey::Rsa { n, e })) => {
            let wrapped = jwe::wrap(algorithm.alg(), n, e, INPUT).map_err(|_| wrong())?;
            let opened = device.unwrap_key(&key.id, algorithm, wrapped, None).await?;
            *opened == INPUT
        }
        (RingAlgorithm::Decryption(_), Some(public)) => {
            let own = Peer::of(public).ok_or_else(wrong)?;
            let agreed = jwe::agree_with(&own).map_err(|_| wrong())?;
            *device.agree(&key.id, agreed.epk.clone(), None).await? == *agreed.z
        }
        (RingAlgorithm::Seal, None) => {
            let (nonce, aad) = ([0; 12], INPUT.to_vec());
            let plaintext = INPUT.to_vec().into();
            let sealed = device.seal(&key.id, nonce, aad.clone(), plaintext, None);
            let sealed = sealed.await?;
            let opened = device.unseal(&key.id, nonce, aad, sealed, None).await?;
            *opened == INPUT
        }
        (RingAlgorithm::Mac, None) => {
            let mac = || device.mac(&key.id, Bytes::from_static(INPUT), None);
            mac().await? == mac().await?
        }
        _ => false,
    };
    if is_right { Ok(()) } else { Err(wrong()) }
}

async fn bury(device: &Device) -> Result<(), Error> {
    let ring = "signet-doctor/ES256";
    let tombstone = Tombstone {
        kid: "doctor".to_owned(),
        ring: ring.parse().map_err(|_| Error::Unsupported)?,
        generation: 1,
        created: 0,
        reason: TombstoneReason::Disabled,
        at: 0,
        was_active: false,
        note: "doctor".to_owned(),
    };
    device.bury(&tombstone).await?;
    match device.list().await?.tombstones.contains(&tombstone) {
        true => Ok(()),
        false => Err(Error::Device(
            "one that was written is not listed".to_owned(),
        )),
    }
}

fn pace(
    device: &Device,
    algorithm: SignatureAlgorithm,
    plan: &Plan,
    found: &mut Examination,
) -> Result<(), Error> {
    let key = runtime()?.block_on(make(device, RingAlgorithm::Signature(algorithm)))?;
    for &lanes in &plan.lanes {
        let sign = |runtime: &mut tokio::runtime::Runtime| {
            let input = Bytes::from_static(INPUT);
            let signed = device.sign(&key.id, algorithm, input, None);
            runtime.block_on(signed).map(drop)
        };
        let (per_second, cpu) = measure((lanes, plan.time), runtime, sign)?;
        found.paces.push(Pace {
            algorithm,
            key: "key",
            lanes,
            per_second,
            cpu,
        });
    }
    Ok(())
}
