//! Invariant 3, the edges: one place names hyper, one picks gRPC codes, one picks HTTP error statuses.

use crate::source::{Source, all, below, names, none};

/// HTTP statuses that are no error, and may be picked anywhere.
const FINE: &[&str] = &[
    "OK",
    "CREATED",
    "NO_CONTENT",
    "SEE_OTHER",
    "FOUND",
    "NOT_MODIFIED",
];

fn offenders(sources: &[Source], is_offence: impl Fn(&str) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            if is_offence(line) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    broken
}

fn except(folder: &str, allowed: &[&str]) -> Vec<Source> {
    below(folder)
        .into_iter()
        .filter(|source| !allowed.iter().any(|part| source.path.starts_with(part)))
        .collect()
}

#[test]
fn hyper_is_named_at_the_edge_alone() {
    let edge = &["oidc-gateway/src/web/", "oidc-gateway/src/fetch/"];
    let broken = offenders(&except("oidc-gateway/src", edge), |line| {
        names(line, "hyper::") || names(line, "hyper_util::")
    });
    none("web/ and fetch/ alone name hyper", &broken);
}

#[test]
fn grpc_codes_are_picked_in_one_place() {
    let place = &[
        "key-service/src/service/status.rs",
        // The command line is a client: it reads codes, and picks none.
        "key-service/src/admin/",
    ];
    let broken = offenders(&except("key-service/src", place), |line| {
        // Success is no choice.
        let line = line.replace("Code::Ok", "");
        (names(&line, "Code::") || names(&line, "Status::")) && !line.contains("http::")
    });
    none("service/status.rs alone picks gRPC codes", &broken);
}

#[test]
fn http_error_statuses_are_picked_in_one_place() {
    let place = &["oidc-gateway/src/web/failure.rs"];
    let broken = offenders(&except("oidc-gateway/src", place), |line| {
        line.split("StatusCode::").skip(1).any(|rest| {
            let status: String = rest
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            !status.is_empty() && !FINE.contains(&status.as_str())
        })
    });
    none("web/failure.rs alone picks HTTP error statuses", &broken);
}

#[test]
fn every_file_begins_with_its_idea() {
    let broken: Vec<String> = all()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! ") || source.text.starts_with("//! x\n"))
        .map(|source| source.path)
        .collect();
    none("the first line of a file is `//!` and its idea", &broken);
}
