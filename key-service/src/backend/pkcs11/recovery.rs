//! Bringing a token back: everybody out, the module ended and begun again, one login, and a right signature by each key
//! that signs before anybody is let in. No restart of the process, and no PIN that was refused is tried again.

use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::open::Open;
use super::patience::chance;
use super::token::{Token, close, failed, find, initialize};
use crate::backend::{Error, State};

/// The shortest pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The pause is this part of the time that the token has been away: whatever that was, its return is seen soon after.
const PART: u32 = 16;

impl Token {
    /// Takes the token out of service and starts to bring it back.
    pub(super) fn trip(self: &Arc<Self>, cause: &str) {
        if !self.becomes(State::Down) {
            return;
        }
        tracing::error!(token = %self.settings.token, cause, "the token failed: out of service");
        let token = Arc::downgrade(self);
        let recovery = thread::Builder::new()
            .name("token-recovery".to_owned())
            .spawn(move || recover(&token));
        if let Err(error) = recovery {
            // Without a thread nobody would bring it back: let the next failure try.
            tracing::error!(%error, "no thread for the recovery");
            self.becomes(State::Up);
        }
    }

    /// Starts the module afresh: some forget all sessions at their peer's restart, and only this makes them notice.
    fn revive(&self) -> Result<(), Error> {
        // Whoever was inside is waited for, and nobody comes in.
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        // Sessions are not closed: their numbers will be those of new ones.
        self.anchor(None);
        let _ = self.module.clone().finalize();
        initialize(&self.module).map_err(failed)?;
        world.slot = find(&self.module, &self.settings)?.0;
        world.epoch += 1;
        let open = Open::new(self.session(world.slot)?, world.epoch);
        if let Err(failure) = self.sign_with_each(&open) {
            close(open.session);
            return Err(failure.into());
        }
        self.anchor(Some(open.session));
        self.copies.begin_again();
        Ok(())
    }
}

/// Tries until the token is back, or must not be tried any more.
fn recover(token: &Weak<Token>) {
    let begun = Instant::now();
    loop {
        thread::sleep(pause(begun.elapsed()));
        let Some(token) = token.upgrade() else { return };
        token.recovery.begins();
        let revived = token.revive();
        token.recovery.ends();
        let (name, seconds) = (&token.settings.token, begun.elapsed().as_secs_f64());
        match revived {
            Ok(()) if token.becomes(State::Up) => {
                return tracing::warn!(token = %name, seconds, "the token answers again");
            }
            Err(error) if token.state() == State::Down => {
                tracing::warn!(token = %name, seconds, %error, "the token is still out of service");
            }
            // Locked out, or hung: both were told of.
            _ => return,
        }
    }
}

fn pause(away: Duration) -> Duration {
    let (shortest, longest) = PAUSES;
    let pause = (away / PART).clamp(shortest, longest);
    // So that many that lost one device do not all come back to it together.
    let quarter = u64::try_from(pause.as_millis() / 4).unwrap_or(u64::MAX);
    pause - Duration::from_millis(chance(quarter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_is_seen_soon_after_a_short_outage_and_cheaply_after_a_long_one() {
        for (away, longest) in [(0, 200), (1_000, 200), (16_000, 1_000), (3_600_000, 30_000)] {
            let pause = pause(Duration::from_millis(away)).as_millis();
            assert!(pause <= longest, "{away} ms away: {pause} ms");
            assert!(pause * 4 > longest * 3 - 4, "{away} ms away: {pause} ms");
        }
    }
}
