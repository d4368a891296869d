//! The atomic steps that no single Redis command does.
//!
//! A value is `state version(16) [binding] content`: `P` plain, which has no binding; `I` issued; `S` spent; `E` ended,
//! which has no more. `[…]` is a length octet and that many octets.
//!
//! What is said most often needs no script, for Lua costs Redis more than the commands that it sends. A code is claimed
//! by its lease, a second key: `SET … NX`, and then the code and what may have come of it are read. The lease's life is
//! Redis' own, so no gateway's clock can lengthen it (CO-12), and its name has the binding in it, so nobody who lacks the
//! binding can be in the way of who has it. `commit` is `SET … NX` of what comes of the code, in a place of its own: of
//! all who ever claimed it one succeeds, also if a lease was over before its owner was done. Who asks later finds it
//! there and not the code; what is ended leaves `E` there for longer than any code lives.
//!
//! A queue is a sorted set: entries by the time when they are due, in milliseconds since 1970.
//!
//! Lua takes a few nanoseconds for each octet of each string that it meets. So scripts look at the short beginning of a
//! value alone, and a new value comes whole.

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Release,
    Swap,
    Enqueue,
    Due,
}

impl Script {
    pub(super) const ALL: [Script; 4] =
        [Script::Release, Script::Swap, Script::Enqueue, Script::Due];

    pub(super) fn body(self) -> &'static str {
        match self {
            Script::Release => RELEASE,
            Script::Swap => SWAP,
            Script::Enqueue => ENQUEUE,
            Script::Due => DUE,
        }
    }
}

// KEYS: lease; ARGV: owner.
const RELEASE: &str = r"
if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('DEL',KEYS[1]) end
return 1";

// KEYS: value; ARGV: how the value begins, what to write and its life (ms). → 1 done, else what is there.
const SWAP: &str = r"
if redis.call('GETRANGE',KEYS[1],0,#ARGV[1]-1)~=ARGV[1] then return redis.call('GET',KEYS[1]) end
redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3])
return 1";

// KEYS: queue; ARGV: when (ms from now), entries.
const ENQUEUE: &str = r"
local t=redis.call('TIME')
local at=t[1]*1000+math.floor(t[2]/1000)+ARGV[1]
for i=2,#ARGV do redis.call('ZADD',KEYS[1],at,ARGV[i]) end
return 1";

// KEYS: queue; ARGV: how many at the most, the lease (ms). → what is due.
const DUE: &str = r"
local t=redis.call('TIME')
local now=t[1]*1000+math.floor(t[2]/1000)
local due=redis.call('ZRANGEBYSCORE',KEYS[1],'-inf',now,'LIMIT',0,ARGV[1])
for _,entry in ipairs(due) do redis.call('ZADD',KEYS[1],now+ARGV[2],entry) end
return due";
