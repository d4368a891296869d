//! The atomic steps that no single Redis command does.
//!
//! A value begins with one octet that says what it is; `[…]` is a length octet and that many octets:
//! `P value`: plain. `I [binding] value`: issued. `S [binding] value`: spent. An issued value is claimed while a
//! second key, its name after `l:`, holds `owner.binding`; that key's life is the lease. So time is Redis' own, and no
//! gateway's clock can lengthen a lease (CO-12).

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Claim,
    Commit,
    Release,
    Swap,
}

impl Script {
    pub(super) const ALL: [Script; 4] =
        [Script::Claim, Script::Commit, Script::Release, Script::Swap];

    pub(super) fn body(self) -> &'static str {
        match self {
            Script::Claim => CLAIM,
            Script::Commit => COMMIT,
            Script::Release => RELEASE,
            Script::Swap => SWAP,
        }
    }
}

// KEYS: value, lease; ARGV: binding, owner, lease (ms). → 0 missing, 1 mismatch, 2 in flight, else the value as it is:
// "I…" is claimed now, "S…" was spent.
const CLAIM: &str = r"
local v=redis.call('GET',KEYS[1])
if not v then return 0 end
local s=v:byte()
if s~=73 and s~=83 then return 0 end
if v:sub(3,2+v:byte(2))~=ARGV[1] then return 1 end
if s==73 and not redis.call('SET',KEYS[2],ARGV[2]..'.'..ARGV[1],'NX','PX',ARGV[3]) then return 2 end
return v";

// KEYS: value, lease; ARGV: owner, what to write, its life (ms).
// → 1 done, 0 not yours, or no longer there.
const COMMIT: &str = r"
local l=redis.call('GET',KEYS[2])
local n=#ARGV[1]+1
if not l or l:sub(1,n)~=ARGV[1]..'.' then return 0 end
if not redis.call('SET',KEYS[1],'S'..string.char(#l-n)..l:sub(n+1)..ARGV[2],'XX','PX',ARGV[3]) then return 0 end
redis.call('DEL',KEYS[2])
return 1";

// KEYS: lease; ARGV: owner.
const RELEASE: &str = r"
local l=redis.call('GET',KEYS[1])
if l and l:sub(1,#ARGV[1]+1)==ARGV[1]..'.' then redis.call('DEL',KEYS[1]) end
return 1";

// KEYS: value; ARGV: before, what to write, its life (ms).
// → 1 done, else what is there to read.
const SWAP: &str = r"
local v=redis.call('GET',KEYS[1])
if not v then return false end
local s=v:byte()
local h=s==80 and 1 or s==83 and 2+v:byte(2)
if not h then return false end
if v:sub(h+1)~=ARGV[1] then return v:sub(h+1) end
redis.call('SET',KEYS[1],v:sub(1,h)..ARGV[2],'PX',ARGV[3])
return 1";
