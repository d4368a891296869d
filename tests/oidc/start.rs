//! A key-service that cannot use its token says why, once, and ends: a supervisor that tries again and again would lock it.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;
use support::softhsm::{MODULE, SoftHsm};

use crate::stack;

/// EX_USAGE of sysexits.h: to start it again changes nothing.
const USAGE: Option<i32> = Some(64);

#[test]
fn a_key_service_that_cannot_use_its_token_says_why() {
    let name = "start::a_key_service_that_cannot_use_its_token_says_why";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let wrong = softhsm.secret("wrong", "9999");
    let none = softhsm.tokens().with_file_name("none");
    let folder = tempfile::tempdir().unwrap();
    for (label, pin_file, said) in [
        ("signet", &wrong, "PIN refused; not tried again"),
        ("signett", &token.pin_file, "\"signet\""),
        ("signet", &none, "cannot read"),
    ] {
        let backend = format!(
            "kind = \"pkcs11\"\nmodule = \"{MODULE}\"\ntoken = \"{label}\"\npin_file = \"{}\"",
            pin_file.display()
        );
        let (code, words) = serve(folder.path(), &backend);
        assert_eq!(code, USAGE, "{label}: {words}");
        assert_eq!(words.matches(said).count(), 1, "{said}: {words}");
        assert!(words.contains("key-service.toml"), "{words}");
        assert!(!words.contains("9999"), "{words}");
    }
}

/// The exit code, and all that it said.
fn serve(folder: &Path, backend: &str) -> (Option<i32>, String) {
    stack::build();
    let configuration = folder.join("key-service.toml");
    let text = format!(
        "allow_root = true\n[listen]\nunix = \"socket\"\n\
         [[callers.allow]]\nname = \"local\"\nuid = {}\nservices = [\"keys\"]\nrings = [\"*\"]\n\
         [backend]\n{backend}\n[policy]\nissuer = \"https://issuer.example\"\n\
         [[rings]]\nname = \"id-token/ES256\"\n",
        geteuid()
    );
    fs::write(&configuration, text).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_stack")).with_file_name("key-service");
    let mut command = Command::new(program);
    command.args(["serve", "--config"]).arg(configuration);
    let output = command.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(words).unwrap())
}
