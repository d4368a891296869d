//! Invariant 4: files stay small enough to be read. 150 lines are typical, 400 a warning, 600 a failure.

use std::io::Write as _;

use crate::source::{all, none};

const WARNING: usize = 400;
const FAILURE: usize = 600;

#[test]
fn files_can_be_read() {
    let mut broken = Vec::new();
    for source in all() {
        let lines = source.production().count();
        let sentence = format!("{}: {lines} lines before its tests", source.path);
        if lines > FAILURE {
            broken.push(sentence);
        } else if lines > WARNING {
            // Shown even when the test passes: the harness does not capture this handle.
            let _ = writeln!(std::io::stderr(), "warning: {sentence}");
        }
    }
    none("split these files", &broken);
}
