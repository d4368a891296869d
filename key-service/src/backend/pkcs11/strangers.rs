//! What is remembered of objects that are not ours, so that a listing takes no longer beside thousands of them: a
//! standard search finds by whole attributes, ours are known by the beginning of a label, and some modules look through
//! everything to read one object.

use std::collections::{HashMap, HashSet};

use cryptoki::object::ObjectHandle;

/// So many are read again in each listing: an object may be changed, and a module may give the number of one that is
/// gone to the next one before anybody has looked.
const AGAIN: usize = 16;

/// Objects of one class in one session, and what was read of each.
#[derive(Default)]
pub(super) struct Strangers<T> {
    known: HashMap<u64, T>,
    /// Where among what is found those begin that are read again next.
    turn: usize,
}

impl<T> Strangers<T> {
    /// Begins a listing, which has found these. What is gone is forgotten, and what is to be read again.
    pub(super) fn begin(&mut self, found: &[ObjectHandle]) {
        let found: Vec<u64> = found.iter().map(ObjectHandle::handle).collect();
        self.begin_with(&found);
    }

    fn begin_with(&mut self, found: &[u64]) {
        let all: HashSet<u64> = found.iter().copied().collect();
        self.known.retain(|handle, _| all.contains(handle));
        let count = found.len().max(1);
        let again = AGAIN.min(found.len());
        for handle in found.iter().cycle().skip(self.turn % count).take(again) {
            self.known.remove(handle);
        }
        self.turn = (self.turn % count + again) % count;
    }

    pub(super) fn known(&self, object: ObjectHandle) -> Option<&T> {
        self.known.get(&object.handle())
    }

    pub(super) fn remember(&mut self, object: ObjectHandle, read: T) {
        self.known.insert(object.handle(), read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handles that a listing reads when it finds these, of which none is ours.
    fn read(strangers: &mut Strangers<()>, found: &[u64]) -> Vec<u64> {
        strangers.begin_with(found);
        let unknown = |handle: &&u64| !strangers.known.contains_key(handle);
        let read: Vec<u64> = found.iter().filter(unknown).copied().collect();
        strangers
            .known
            .extend(read.iter().map(|handle| (*handle, ())));
        read
    }

    #[test]
    fn a_few_are_read_every_time() {
        let mut strangers = Strangers::default();
        assert_eq!(read(&mut strangers, &[]), [0; 0]);
        let few: Vec<u64> = (0..16).collect();
        for _ in 0..3 {
            assert_eq!(read(&mut strangers, &few), few);
        }
    }

    #[test]
    fn of_many_each_has_its_turn() {
        let mut strangers = Strangers::default();
        let many: Vec<u64> = (100..1100).collect();
        assert_eq!(read(&mut strangers, &many), many);
        let mut seen = HashSet::new();
        for _ in 0..1000_usize.div_ceil(AGAIN) {
            let some = read(&mut strangers, &many);
            assert_eq!(some.len(), AGAIN);
            seen.extend(some);
        }
        assert_eq!(seen, many.iter().copied().collect());
    }

    #[test]
    fn what_is_new_or_was_away_is_read() {
        let mut strangers = Strangers::default();
        let many: Vec<u64> = (0..100).collect();
        read(&mut strangers, &many);
        let fewer = &many[..90];
        read(&mut strangers, fewer);
        let more: Vec<u64> = (0..101).collect();
        let new = read(&mut strangers, &more);
        for handle in 90..101 {
            assert!(new.contains(&handle), "{handle}");
        }
        assert!(new.len() <= 11 + AGAIN);
    }
}
