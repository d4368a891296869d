//! The atomic steps that no single Redis command does.
//!
//! A value is `state version(16) [binding] content`: `P` plain, which has no binding; `I` issued; `S` spent. `[…]` is a
//! length octet and that many octets. An issued value is claimed while its lease, a second key, holds the owner. That
//! key's life is the lease, so time is Redis' own, and no gateway's clock can lengthen a lease (CO-12). Its name has the
//! binding in it, so nobody who lacks the binding can be in the way of who has it, and claiming needs no script: `SET`
//! of the lease if it is not there, then `GET` of the value. Of all who claim, one has the lease; who reads `S` after it
//! came after the commit.
//!
//! Lua takes a few nanoseconds for each octet of each string that it meets. So scripts look at the short beginning of a
//! value alone, and a new value comes whole.

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Commit,
    Release,
    Swap,
}

impl Script {
    pub(super) const ALL: [Script; 3] = [Script::Commit, Script::Release, Script::Swap];

    pub(super) fn body(self) -> &'static str {
        match self {
            Script::Commit => COMMIT,
            Script::Release => RELEASE,
            Script::Swap => SWAP,
        }
    }
}

// KEYS: value, lease; ARGV: owner, the spent value, its life (ms). → 1 done, 0 not yours, or no longer there.
const COMMIT: &str = r"
if redis.call('GET',KEYS[2])~=ARGV[1] then return 0 end
if not redis.call('SET',KEYS[1],ARGV[2],'XX','PX',ARGV[3]) then return 0 end
redis.call('DEL',KEYS[2])
return 1";

// KEYS: lease; ARGV: owner.
const RELEASE: &str = r"
if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('DEL',KEYS[1]) end
return 1";

// KEYS: value, perhaps one beside it; ARGV: how the value begins, what to write and its life (ms), the same for the
// other. → 1 done, else what is there.
const SWAP: &str = r"
if redis.call('GETRANGE',KEYS[1],0,#ARGV[1]-1)~=ARGV[1] then return redis.call('GET',KEYS[1]) end
redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3])
if KEYS[2] then redis.call('SET',KEYS[2],ARGV[4],'PX',ARGV[5]) end
return 1";
