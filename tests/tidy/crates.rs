//! Invariants 1 and 2: what the gateway links, who knows whom, and where unsafe code may be.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::source::{FOLDERS, all, none, root};

/// Crates that can use a private or symmetric key. Hashes, password hashes and random numbers are not among them.
const KEY_USING: &[&str] = &[
    "aes",
    "aes-gcm",
    "aes-gcm-siv",
    "aes-kw",
    "boring",
    "chacha20poly1305",
    "cryptoki",
    "cryptoki-sys",
    "curve25519-dalek",
    "dsa",
    "ecdsa",
    "ed25519",
    "ed25519-dalek",
    "elliptic-curve",
    "hkdf",
    "josekit",
    "jsonwebtoken",
    "k256",
    "native-tls",
    "openssl",
    "openssl-sys",
    "p256",
    "p384",
    "p521",
    "ring",
    "rsa",
    "x25519-dalek",
];

/// Key-using crates that may be there, below these crates alone.
const WRAPPED: &[(&str, &[&str])] = &[
    // TLS: rustls and its certificate verifier.
    ("aws-lc-rs", &["rustls", "rustls-webpki"]),
    // A password hash is made of it.
    ("hmac", &["pbkdf2"]),
];

/// Files that may hold unsafe code: modules of PKCS#11 are entered by C's conventions, and their callers hand over pointers.
const UNSAFE: &[&str] = &[
    "tests/fault-token/src/module.rs",
    "tests/kryoptic/src/lib.rs",
];

fn tree(arguments: &[&str]) -> Option<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-p", "oidc-gateway", "-e", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    output
        .status
        .success()
        .then(|| names.map(ToOwned::to_owned).collect())
}

#[test]
fn the_gateway_links_no_crate_that_uses_keys() {
    let linked = tree(&[]).expect("cargo tree succeeds");
    assert!(linked.contains("hyper"), "cargo tree lists crates");
    let mut broken: Vec<String> = KEY_USING
        .iter()
        .filter(|name| linked.contains(**name))
        .map(|name| format!("{name} is linked"))
        .collect();
    for (name, wrappers) in WRAPPED {
        if !linked.contains(*name) {
            continue;
        }
        let dependants = tree(&["--invert", name, "--depth", "1"]).expect("cargo tree succeeds");
        for dependant in dependants.iter().filter(|dependant| dependant != name) {
            if !wrappers.contains(&dependant.as_str()) {
                broken.push(format!("{dependant} uses {name}"));
            }
        }
    }
    none("the gateway must not be able to use a key", &broken);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("there");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    let broken: Vec<String> = FOLDERS
        .iter()
        .map(|folder| format!("{folder}/Cargo.toml"))
        .filter(|path| {
            let manifest = fs::read_to_string(root().join(path)).expect("there");
            !manifest.contains("[lints]\nworkspace = true")
        })
        .collect();
    none(
        "unsafe code is forbidden by [lints] workspace = true",
        &broken,
    );
}

#[test]
fn unsafe_code_is_in_the_modules_for_tests_alone() {
    // Not in what is quoted.
    let is_unsafe = |line: &str| {
        let mut words = line
            .split('"')
            .step_by(2)
            .flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        words.any(|word| word == "unsafe")
    };
    let (allowed, others): (Vec<_>, Vec<_>) = all()
        .into_iter()
        .filter(|source| source.code().any(|(_, line)| is_unsafe(line)))
        .map(|source| source.path)
        .partition(|path| UNSAFE.contains(&path.as_str()));
    none("no unsafe code here", &others);
    assert_eq!(
        allowed, UNSAFE,
        "what is no longer unsafe needs no exception"
    );
    // The one in the workspace allows it in its one file; the lints of the other crates forbid it.
    let manifest = root().join("tests/fault-token/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("there");
    assert!(manifest.contains("unsafe_code = \"deny\""));
}

#[test]
fn the_two_services_never_know_each_other() {
    let mut broken = Vec::new();
    for (folder, strangers) in [
        (
            "proto",
            &["key-service", "oidc-gateway", "pki", "tests"][..],
        ),
        ("key-service", &["oidc-gateway", "tests"]),
        ("oidc-gateway", &["key-service", "pki", "tests"]),
    ] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("there");
        for stranger in strangers {
            let dependency = |line: &str| {
                line.strip_prefix(stranger)
                    .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
            };
            if manifest.lines().any(dependency) {
                broken.push(format!("{folder} depends on {stranger}"));
            }
        }
    }
    none("what the services share is the proto", &broken);
}
