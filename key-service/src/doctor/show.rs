//! What the doctor found, for a person and for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Report, configuration};
use crate::backend::examination::{Examination, Finding, Pace, Tried};
use crate::backend::pkcs11::examine::Shown;

/// Everything, as JSON.
pub(super) fn json(report: &Report) -> String {
    let empty = Examination::default();
    let found = report.examination.as_ref().unwrap_or(&empty);
    let algorithms = algorithms(report).iter().map(|tried| {
        json!({
            "alg": tried.algorithm.as_str(),
            "use": tried.algorithm.usage(),
            "mechanism": tried.mechanism,
            "key_sizes": tried.key_sizes.map(|(least, most)| [least, most]),
            "works": tried.outcome.is_ok(),
            "reason": tried.outcome.as_ref().err(),
        })
    });
    let findings = found.findings.iter().map(|finding| {
        json!({
            "name": finding.name,
            "good": finding.is_good,
            "essential": finding.is_essential,
            "detail": finding.detail,
        })
    });
    let speed = found.paces.iter().map(|pace| {
        json!({
            "alg": pace.algorithm.as_str(),
            "key": pace.key,
            "lanes": pace.lanes,
            "per_second": pace.per_second.round(),
            "cpu_microseconds": pace.cpu.round(),
        })
    });
    let answer = json!({
        "usable": report.is_usable(),
        "place": report.place,
        "module": report.look.as_ref().map(|look| &look.description),
        "tokens": report.look.iter().flat_map(|look| &look.tokens).map(token).collect::<Vec<_>>(),
        "token": report.token.as_ref().map(token),
        "tried": report.examination.is_some(),
        "algorithms": algorithms.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "speed": speed.collect::<Vec<_>>(),
        "left": found.left,
        "configuration": configuration::paste(report),
    });
    format!("{answer}\n")
}

fn token(shown: &Shown) -> Value {
    json!({
        "slot": shown.slot,
        "label": shown.label,
        "serial": shown.serial,
        "model": shown.model,
        "warning": shown.warning,
    })
}

/// What was tried, or is listed.
fn algorithms(report: &Report) -> &[Tried] {
    match (&report.examination, &report.token) {
        (Some(found), _) => &found.algorithms,
        (None, Some(shown)) => &shown.algorithms,
        (None, None) => &[],
    }
}

/// For a person.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{name:10}{value}");
    };
    row("place", &report.place);
    if let Some(look) = &report.look {
        row("module", &look.description);
    }
    if let Some(shown) = &report.token {
        let Shown {
            slot,
            label,
            serial,
            model,
            ..
        } = shown;
        row(
            "token",
            &format!("\"{label}\", {model}, serial {serial}, slot {slot}"),
        );
        if !shown.warning.is_empty() {
            row("", shown.warning);
        }
    }
    text.push_str(match report.examination {
        Some(_) => "\nalgorithms, each tried\n",
        None => "\nalgorithms, as listed; --pin-file has them tried\n",
    });
    for tried in algorithms(report) {
        text.push_str(&algorithm(tried));
    }
    if let Some(found) = &report.examination {
        text.push_str(&examined(found));
    }
    if let Some(toml) = configuration::paste(report) {
        let _ = write!(
            text,
            "\nconfiguration: [backend] and [[rings]], with the rest of deploy/config/key-service.toml\n\n{toml}"
        );
    }
    let _ = writeln!(text, "\n{}", verdict(report));
    text
}

fn algorithm(tried: &Tried) -> String {
    let name = tried.algorithm.as_str();
    let mark = mark(tried.outcome.is_ok(), true);
    let told = match (&tried.outcome, tried.key_sizes) {
        (Err(reason), _) => reason.clone(),
        // PKCS #11 3.1 §5.7: bits or octets, as the mechanism has it.
        (Ok(()), Some((least, most))) => format!("keys of {least} to {most}"),
        (Ok(()), None) => String::new(),
    };
    let line = format!("{mark} {name:16}{:26}{told}", tried.mechanism);
    format!("{}\n", line.trim_end())
}

fn examined(found: &Examination) -> String {
    let mut text = String::from("\nfindings\n");
    for finding in &found.findings {
        let Finding {
            name,
            is_good,
            is_essential,
            detail,
        } = finding;
        let _ = writeln!(text, "{} {name:24}{detail}", mark(*is_good, *is_essential));
    }
    if !found.paces.is_empty() {
        text.push_str("\nspeed: signatures in a second, CPU µs of this process for each\n");
        text.push_str(&speed(&found.paces));
    }
    for left in &found.left {
        let _ = writeln!(text, "\nleft behind, to be removed by hand: {left}");
    }
    text
}

/// A row for each algorithm and kind of key, a column for each number of lanes.
fn speed(paces: &[Pace]) -> String {
    let mut lanes: Vec<usize> = paces.iter().map(|pace| pace.lanes).collect();
    lanes.sort_unstable();
    lanes.dedup();
    let mut text = format!("{:24}", "");
    for lanes in &lanes {
        let _ = write!(text, "{:>18}", format!("lanes {lanes}"));
    }
    text.push('\n');
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for pace in paces {
        let row = (pace.algorithm.as_str(), pace.key);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    for (algorithm, key) in rows {
        let _ = write!(text, "{:24}", format!("{algorithm}, {key}"));
        for lanes in &lanes {
            let pace = paces.iter().find(|pace| {
                (pace.algorithm.as_str(), pace.key, &pace.lanes) == (algorithm, key, lanes)
            });
            let cell = pace.map(|pace| format!("{:.0}/s {:.0} µs", pace.per_second, pace.cpu));
            let _ = write!(text, "{:>18}", cell.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

fn mark(is_good: bool, is_essential: bool) -> char {
    match (is_good, is_essential) {
        (true, _) => '✓',
        (false, true) => '✗',
        (false, false) => '!',
    }
}

fn verdict(report: &Report) -> String {
    let Some(found) = &report.examination else {
        return "Nothing was tried: that needs a login (--pin-file).".to_owned();
    };
    if report.is_usable() {
        return "The key-service can be run with it.".to_owned();
    }
    let broken: Vec<&str> = found
        .findings
        .iter()
        .filter(|it| !it.is_good && it.is_essential)
        .map(|it| it.name)
        .collect();
    match broken.is_empty() {
        true => "The key-service cannot be run with it: it signs nothing.".to_owned(),
        false => format!(
            "The key-service cannot be run with it: {}.",
            broken.join(", ")
        ),
    }
}
