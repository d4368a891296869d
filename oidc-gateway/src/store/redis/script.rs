//! The atomic steps that no single Redis command does.
//!
//! A value begins with one octet that says what it is. `[…]` is a length octet and that many octets:
//! `P value`: plain. `I [binding] value`: issued. `C deadline(13 digits, ms) [owner] [binding] value`: claimed.
//! `S [binding] value`: spent. Time is Redis' own, so that no gateway's clock can lengthen a lease (CO-12).

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

// KEYS[1]; ARGV: binding, owner, lease (ms). → 0 missing, 1 mismatch, 2 in flight, "C…" claimed, "S…" spent.
const CLAIM: &str = r"
local v=redis.call('GET',KEYS[1])
if not v then return 0 end
local s=v:byte()
local at=2
if s==67 then at=16+v:byte(15) elseif s~=73 and s~=83 then return 0 end
local e=at+v:byte(at)
if v:sub(at+1,e)~=ARGV[1] then return 1 end
if s==83 then return 'S'..v:sub(e+1) end
local t=redis.call('TIME')
local now=t[1]*1000+math.floor(t[2]/1000)
if s==67 and tonumber(v:sub(2,14))>now then return 2 end
redis.call('SET',KEYS[1],string.format('C%013d',now+ARGV[3])..string.char(#ARGV[2])..ARGV[2]..v:sub(at),'KEEPTTL')
return 'C'..v:sub(e+1)";

// KEYS: spent, others; ARGV: owner, then for each key its value and its life (ms). → 1 done, 0 not yours.
const COMMIT: &str = r"
local v=redis.call('GET',KEYS[1])
if not v or v:byte()~=67 then return 0 end
local o=15+v:byte(15)
if v:sub(16,o)~=ARGV[1] then return 0 end
local t=redis.call('TIME')
if tonumber(v:sub(2,14))<=t[1]*1000+math.floor(t[2]/1000) then return 0 end
redis.call('SET',KEYS[1],'S'..v:sub(o+1,o+1+v:byte(o+1))..ARGV[2],'PX',ARGV[3])
for i=2,#KEYS do redis.call('SET',KEYS[i],ARGV[2*i],'PX',ARGV[2*i+1]) end
return 1";

// KEYS[1]; ARGV: owner. Also after the lease: it is then issued either way.
const RELEASE: &str = r"
local v=redis.call('GET',KEYS[1])
if not v or v:byte()~=67 then return 0 end
local o=15+v:byte(15)
if v:sub(16,o)~=ARGV[1] then return 0 end
redis.call('SET',KEYS[1],'I'..v:sub(o+1),'KEEPTTL')
return 1";

// KEYS: the value, others; ARGV: before, then for each key its value and its life (ms). → 1 done, else what is there.
const SWAP: &str = r"
local v=redis.call('GET',KEYS[1])
if not v then return false end
local s=v:byte()
local h=s==80 and 1 or s==83 and 2+v:byte(2)
if not h then return false end
if v:sub(h+1)~=ARGV[1] then return v:sub(h+1) end
redis.call('SET',KEYS[1],v:sub(1,h)..ARGV[2],'PX',ARGV[3])
for i=2,#KEYS do redis.call('SET',KEYS[i],ARGV[2*i],'PX',ARGV[2*i+1]) end
return 1";
