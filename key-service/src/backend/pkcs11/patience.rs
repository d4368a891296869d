//! Trying again after a pause. A module that several processes share may refuse for a moment: SoftHSM fails when two of
//! them make keys at once, and when one reads what another is writing.

use std::time::Duration;

use crate::backend::Error;

/// The pauses before each further attempt, in milliseconds; each is made longer by up to as much again.
const PAUSES: [u64; 5] = [20, 40, 80, 160, 320];

/// Attempts it, and again while the failure may be over in a moment.
pub(super) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if may_pass(&error) => {
                tracing::debug!("the token refused for the moment");
                std::thread::sleep(Duration::from_millis(pause + chance(pause)));
            }
            other => return other,
        }
    }
    attempt()
}

/// Whether the device failed, rather than said no.
pub(super) fn is_failure(error: &Error) -> bool {
    matches!(error, Error::Device(_))
}

/// A number below this one, so that two that failed together do not try together.
pub(super) fn chance(below: u64) -> u64 {
    let mut octets = [0; 8];
    // Without chance the pauses are just less apart.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    u64::from_ne_bytes(octets) % below.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_with_an_answer_or_after_all_attempts() {
        for (fails, expected) in [(0, Ok(1)), (2, Ok(3)), (100, Err(6))] {
            let mut attempts = 0;
            let outcome = patiently(
                || {
                    attempts += 1;
                    if attempts > fails {
                        Ok(attempts)
                    } else {
                        Err(attempts)
                    }
                },
                |_| true,
            );
            assert_eq!(outcome, expected);
        }
        assert_eq!(patiently(|| Err::<(), _>("no"), |_| false), Err("no"));
    }
}
