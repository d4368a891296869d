//! The acknowledgement gate: a replica does not sign with a new key while a gateway that is connected to it does not
//! publish that key. It is local, for each replica knows its own gateways alone, and bounded: when the limit has passed
//! the key signs all the same, with an alarm. Replicas that differ meanwhile do no harm, for both keys are published.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::key::Key;
use super::published::Published;

/// How many epochs are remembered; a gateway that serves an older one lags.
const EPOCHS: usize = 64;

/// A key, and when it signs here.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    /// From when it may sign, by the state function.
    pub(super) from: i64,
    /// From when it does here: later, while the gate holds it back.
    pub(super) here: i64,
    pub(super) key: Arc<Key>,
}

/// What the gateways of this replica serve, and which keys have passed.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The epochs that connected gateways serve. One that has not said so yet serves "".
    served: HashSet<String>,
    /// Which kids each epoch held, the latest last.
    epochs: VecDeque<(String, HashSet<String>)>,
    /// Keys that sign here, or did: the gate closes behind nobody.
    passed: HashSet<String>,
    /// Keys whose limit passed before the gateways followed.
    forced: HashSet<String>,
}

impl Gate {
    /// Says what the gateways serve now; `false` where that is nothing new.
    pub(super) fn serve(&mut self, served: HashSet<String>) -> bool {
        let changed = self.served != served;
        self.served = served;
        changed
    }

    /// Remembers what an epoch holds.
    pub(super) fn publish(&mut self, published: &Published) {
        if self
            .epochs
            .back()
            .is_some_and(|(epoch, _)| *epoch == published.epoch)
        {
            return;
        }
        let kids = published.keys.iter().map(|(_, key)| key.kid().to_owned());
        self.epochs
            .push_back((published.epoch.clone(), kids.collect()));
        if self.epochs.len() > EPOCHS {
            self.epochs.pop_front();
        }
    }

    /// Whether who serves `epoch` publishes the key.
    pub(super) fn holds(&self, epoch: &str, kid: &str) -> bool {
        let known = self.epochs.iter().rfind(|(known, _)| known == epoch);
        known.is_some_and(|(_, kids)| kids.contains(kid))
    }

    /// Notes which key signs by now, also before the signers are computed again.
    pub(super) fn pass(&mut self, signers: &[Signer], now: i64) {
        if let Some(Signer { from, here, key }) = signing(signers, now)
            && self.passed.insert(key.kid().to_owned())
            && here > from
        {
            self.forced.insert(key.kid().to_owned());
        }
    }

    /// Holds back the keys that a gateway does not publish yet, for `limit` seconds at most.
    ///
    /// The first that may sign has nobody before it that could sign in its place: it is never held back, so neither is a
    /// ring's first key nor the heir of a revoked one.
    pub(super) fn hold(&mut self, signers: &mut [Signer], limit: i64, now: i64) {
        for (index, signer) in signers.iter_mut().enumerate() {
            let kid = signer.key.kid();
            let is_served = self.served.iter().all(|epoch| self.holds(epoch, kid));
            if is_served {
                self.forced.remove(kid);
            }
            let is_held = index > 0 && !is_served && !self.passed.contains(kid);
            signer.here = if is_held {
                signer.from.saturating_add(limit)
            } else {
                signer.from
            };
        }
        self.pass(signers, now);
    }

    /// Whether the key signs although a gateway does not publish it.
    pub(super) fn is_forced(&self, kid: &str) -> bool {
        self.forced.contains(kid)
    }
}

/// Which signs here at `now`.
pub(super) fn signing(signers: &[Signer], now: i64) -> Option<&Signer> {
    signers.iter().rfind(|signer| signer.here <= now)
}
