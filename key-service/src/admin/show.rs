//! How answers of the administration look: tables and sentences for people, JSON with absolute times for programs.

use std::fmt::Write as _;

use proto::v1;
use serde_json::{Value, json};

use crate::algorithm::{RingAlgorithm, RingName};

/// RFC 3339; nothing where there is no time.
fn time(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    (seconds != 0).then(|| time.to_string())
}

fn state(key: &v1::Key) -> &'static str {
    let name = key.state().as_str_name();
    name.strip_prefix("KEY_STATE_").unwrap_or(name)
}

pub(super) fn key(key: &v1::Key) -> Value {
    json!({
        "kid": key.kid,
        "ring": key.ring,
        "generation": key.generation,
        "state": state(key),
        "created_at": time(key.created_at),
        "activates_at": time(key.activates_at),
        "retires_at": time(key.retires_at),
        "expires_at": time(key.expires_at),
        "location": key.location,
        "reason": key.reason,
    })
}

pub(super) fn table(keys: &[v1::Key]) -> String {
    let heads = [
        "RING",
        "GEN",
        "STATE",
        "KID",
        "CREATED",
        "SIGNS FROM",
        "UNTIL",
        "PUBLISHED UNTIL",
        "WHERE",
        "WHY",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    let show = |seconds| time(seconds).unwrap_or_else(|| "-".to_owned());
    for key in keys {
        rows.push([
            key.ring.clone(),
            key.generation.to_string(),
            state(key).to_owned(),
            key.kid.clone(),
            show(key.created_at),
            show(key.activates_at),
            show(key.retires_at),
            show(key.expires_at),
            key.location.clone(),
            key.reason.clone(),
        ]);
    }
    let widths: [usize; 10] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to memory cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn rotation_json(rotation: &v1::RotateKeyResponse) -> Value {
    json!({
        "created": rotation.created.as_ref().map(key),
        "next_generation": (rotation.next_generation != 0).then_some(rotation.next_generation),
        "next_activates_at": time(rotation.next_activates_at),
        "next_signs_by": time(rotation.next_signs_by),
        "lagging": rotation.lagging.iter().map(|gateway| json!({
            "caller": gateway.caller,
            "instance_id": gateway.instance_id,
        })).collect::<Vec<_>>(),
        "dry_run": rotation.dry_run,
    })
}

pub(super) fn rotation_text(rotation: &v1::RotateKeyResponse) -> String {
    let mut text = String::new();
    if let Some(created) = &rotation.created {
        let made = if rotation.dry_run {
            "would be made"
        } else {
            "is made"
        };
        let kid = if created.kid.is_empty() {
            String::new()
        } else {
            format!(", {}", created.kid)
        };
        let _ = writeln!(
            text,
            "{}: generation {}{kid} {made}, as the standby",
            created.ring, created.generation
        );
    }
    if let Some(at) = time(rotation.next_activates_at) {
        let _ = writeln!(
            text,
            "generation {} signs from {at}",
            rotation.next_generation
        );
    }
    for gateway in &rotation.lagging {
        let v1::Gateway {
            caller,
            instance_id,
        } = gateway;
        let _ = writeln!(text, "{caller} {instance_id} does not publish it yet");
    }
    if let (false, Some(at)) = (rotation.lagging.is_empty(), time(rotation.next_signs_by)) {
        let _ = writeln!(
            text,
            "this replica waits for them, no longer than until {at}"
        );
    }
    text
}

pub(super) fn revocation_json(revocation: &v1::RevokeKeyResponse) -> Value {
    json!({
        "revoked": revocation.revoked.as_ref().map(key),
        "signing_kid": (!revocation.signing_kid.is_empty()).then_some(&revocation.signing_kid),
        "created": revocation.created.as_ref().map(key),
    })
}

pub(super) fn revocation_text(revocation: &v1::RevokeKeyResponse) -> String {
    let mut text = String::new();
    if let Some(revoked) = &revocation.revoked {
        let _ = writeln!(text, "{}: {} is revoked", revoked.ring, revoked.kid);
        if let Ok(ring) = revoked.ring.parse::<RingName>() {
            text.push_str(match ring.algorithm() {
                RingAlgorithm::Signature(_) => {
                    "relying parties accept it until their copy of the JWK Set is too old\n"
                }
                RingAlgorithm::Decryption(_) => "what is encrypted to it is refused from now on\n",
                RingAlgorithm::Seal => "what it sealed is not opened any more\n",
                RingAlgorithm::Mac => "what it computed is not computed again\n",
            });
        }
    }
    text.push_str(&signs_from_now(&revocation.signing_kid));
    if let Some(created) = &revocation.created {
        let _ = writeln!(
            text,
            "generation {}, {} is made, as the standby",
            created.generation, created.kid
        );
    }
    text
}

pub(super) fn import_json(import: &v1::ImportPublicKeyResponse) -> Value {
    json!({
        "key": import.key.as_ref().map(key),
        "known_by": time(import.known_by),
        "dry_run": import.dry_run,
    })
}

pub(super) fn imports_text(imports: &[v1::ImportPublicKeyResponse]) -> String {
    let mut text = String::new();
    for import in imports {
        let Some(key) = &import.key else { continue };
        let until = time(key.expires_at).unwrap_or_default();
        let is = if import.dry_run {
            "would be published"
        } else {
            "is published"
        };
        let _ = writeln!(
            text,
            "{}: {} {is} until {until}, and never signs here",
            key.ring, key.kid
        );
    }
    if let Some(at) = imports
        .iter()
        .filter_map(|it| time(it.known_by))
        .next_back()
    {
        // RFC 3339 in UTC is ordered as it is written.
        let ends = imports
            .iter()
            .filter_map(|it| time(it.key.as_ref()?.expires_at));
        let _ = match ends.min().is_some_and(|end| end <= at) {
            true => writeln!(
                text,
                "that is too soon for every relying party to know it, as from {at}"
            ),
            false => writeln!(text, "every relying party knows it from {at}"),
        };
    }
    text
}

/// A sentence about a key.
pub(super) fn outcome(key: Option<&v1::Key>, what: &str) -> String {
    key.map_or_else(String::new, |key| {
        format!("{}: {} {what}\n", key.ring, key.kid)
    })
}

/// A sentence about a successor, where there is one.
pub(super) fn signs_from_now(kid: &str) -> String {
    if kid.is_empty() {
        return String::new();
    }
    format!("{kid} signs from now on\n")
}

pub(super) fn info_json(info: &v1::InfoResponse) -> Value {
    let can = info.capabilities.clone().unwrap_or_default();
    json!({
        "version": info.version,
        "backend": info.backend,
        "backend_description": info.backend_description,
        "backend_state": info.backend_state,
        "epoch": info.epoch,
        "rings": info.rings,
        "notes": info.notes,
        "capabilities": {
            "sign_rings": can.sign_rings,
            "verify_alg": can.verify_alg,
            "decrypt_rings": can.decrypt_rings,
            "decrypt_enc": can.decrypt_enc,
            "wrap_alg": can.wrap_alg,
            "wrap_enc": can.wrap_enc,
            "seal": can.seal,
            "mac_rings": can.mac_rings,
        },
    })
}

pub(super) fn info_text(info: &v1::InfoResponse) -> String {
    let can = info.capabilities.clone().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in [
        ("version", info.version.clone()),
        (
            "backend",
            format!("{} ({})", info.backend_description, info.backend_state),
        ),
        ("epoch", info.epoch.clone()),
        ("rings", info.rings.join(" ")),
        ("signs with", can.sign_rings.join(" ")),
        ("verifies", can.verify_alg.join(" ")),
        ("decrypts with", can.decrypt_rings.join(" ")),
        ("encrypts by", can.wrap_alg.join(" ")),
        ("content by", can.wrap_enc.join(" ")),
        ("seals", if can.seal { "yes" } else { "no" }.to_owned()),
        ("MACs with", can.mac_rings.join(" ")),
        ("cannot", info.notes.join("; ")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:14}{value}");
        }
    }
    text
}
