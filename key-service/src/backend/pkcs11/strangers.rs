//! What is remembered of objects that are not ours, so that a listing takes no longer beside thousands of them: a
//! standard search finds by whole attributes, ours are known by the beginning of a label, and some modules look through
//! everything to read one object.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use cryptoki::object::ObjectHandle;

/// At least so many are read again in each listing: an object may be changed, and a module may give the number of one
/// that is gone to the next one before anybody has looked. What hides behind it longer than a key may take to be seen
/// never signs.
const AGAIN: usize = 16;
/// After at most so many listings each was read again.
const ROUND: usize = 64;

/// Objects of one class in one session, and what was read of each.
#[derive(Default)]
pub(super) struct Strangers<T> {
    seen: BTreeMap<u64, Seen<T>>,
    /// The last one that was to be read again.
    last: u64,
}

struct Seen<T> {
    read: T,
    /// Twice the same: a module that refuses one attribute for once makes no stranger of a key.
    is_sure: bool,
}

impl<T: PartialEq> Strangers<T> {
    /// Begins a listing, which has found these. What is gone is forgotten, and some are to be read again.
    pub(super) fn begin(&mut self, found: &[ObjectHandle]) {
        self.begin_with(&found.iter().map(ObjectHandle::handle).collect());
    }

    fn begin_with(&mut self, found: &HashSet<u64>) {
        self.seen.retain(|handle, _| found.contains(handle));
        let due = AGAIN.max(self.seen.len().div_ceil(ROUND));
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let handles = self.seen.range(after).chain(self.seen.range(..=self.last));
        let handles: Vec<u64> = handles.map(|(handle, _)| *handle).take(due).collect();
        for handle in handles {
            self.last = handle;
            if let Some(seen) = self.seen.get_mut(&handle) {
                seen.is_sure = false;
            }
        }
    }

    /// What was read of it, unless it is to be read.
    pub(super) fn known(&self, object: ObjectHandle) -> Option<&T> {
        self.known_by(object.handle())
    }

    fn known_by(&self, handle: u64) -> Option<&T> {
        let seen = self.seen.get(&handle).filter(|seen| seen.is_sure);
        seen.map(|seen| &seen.read)
    }

    pub(super) fn remember(&mut self, object: ObjectHandle, read: T) {
        self.remember_by(object.handle(), read);
    }

    fn remember_by(&mut self, handle: u64, read: T) {
        let is_sure = self.seen.get(&handle).is_some_and(|seen| seen.read == read);
        self.seen.insert(handle, Seen { read, is_sure });
    }

    pub(super) fn forget(&mut self, object: ObjectHandle) {
        self.seen.remove(&object.handle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handles that a listing reads when it finds these, of which none is ours.
    fn read(strangers: &mut Strangers<()>, found: impl IntoIterator<Item = u64>) -> HashSet<u64> {
        let mut found: HashSet<u64> = found.into_iter().collect();
        strangers.begin_with(&found);
        found.retain(|handle| strangers.known_by(*handle).is_none());
        for handle in &found {
            strangers.remember_by(*handle, ());
        }
        found
    }

    #[test]
    fn a_few_are_read_every_time() {
        let mut strangers = Strangers::default();
        assert!(read(&mut strangers, []).is_empty());
        for _ in 0..4 {
            assert_eq!(read(&mut strangers, 0..16), (0..16).collect());
        }
    }

    #[test]
    fn of_many_each_is_read_twice_and_then_in_its_turn() {
        for (many, due) in [(0..1000, 16), (0..20_000, 313)] {
            let mut strangers = Strangers::default();
            for _ in 0..2 {
                assert_eq!(
                    read(&mut strangers, many.clone()).len(),
                    many.clone().count()
                );
            }
            let mut seen = HashSet::new();
            for _ in 0..ROUND {
                let some = read(&mut strangers, many.clone());
                assert_eq!(some.len(), due);
                seen.extend(some);
            }
            assert_eq!(seen, many.collect());
        }
    }

    #[test]
    fn what_is_new_or_was_away_or_forgotten_is_read() {
        let mut strangers = Strangers::default();
        for found in [0..100, 0..100, 0..90] {
            read(&mut strangers, found);
        }
        for _ in 0..2 {
            let some = read(&mut strangers, 0..101);
            assert!((90..101).all(|handle| some.contains(&handle)), "{some:?}");
            assert!(some.len() <= 11 + 2 * AGAIN, "{some:?}");
        }
    }

    #[test]
    fn what_was_read_once_is_not_believed() {
        let mut strangers = Strangers::default();
        strangers.begin_with(&HashSet::from([1]));
        for (read, is_known) in [(5, false), (6, false), (6, true), (7, false), (7, true)] {
            strangers.remember_by(1, read);
            assert_eq!(strangers.known_by(1), is_known.then_some(&read), "{read}");
        }
    }
}
