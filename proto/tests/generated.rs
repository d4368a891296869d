//! The checked-in code is what the `.proto` files give today. `UPDATE=1 cargo test -p proto` writes it anew.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

#[test]
fn generated_code_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("src/generated");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    std::fs::create_dir_all(&made).unwrap();
    let files = [
        root.join("keyservice/v1/key_service.proto"),
        root.join("keyservice/v1/key_admin.proto"),
    ];
    let descriptors = protox::compile(files, [root]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(&made)
        .compile_fds(descriptors)
        .unwrap();
    for entry in std::fs::read_dir(&made).unwrap() {
        let entry = entry.unwrap();
        let (fresh, path) = (
            std::fs::read_to_string(entry.path()).unwrap(),
            kept.join(entry.file_name()),
        );
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == fresh,
            "{} is stale: UPDATE=1 cargo test -p proto",
            path.display()
        );
    }
}
