"""What must happen at once in Redis, as Lua scripts. Each is one transaction, in the append-only file too.

All begin by asking whose the checkpoint is. The hash of the state has ``version`` (of the fold), ``epoch`` and ``runner`` (who
may write), a field per partition, one per owner, and ``building`` until the log was read to where it ended when that began.
"""

from __future__ import annotations

OURS = """
for _ = 1, 20 do redis.call('TOUCH', KEYS[1]) end
local owns = redis.call('HMGET', KEYS[1], 'runner', 'epoch')
if not owns[2] then return 'lost' end
if owns[1] ~= ARGV[1] then return tonumber(owns[2]) < tonumber(ARGV[2]) and 'lost' or 'fenced' end
"""
"""ARGV: runner, the epoch of its claim. A state of an earlier epoch lost the claim in a crash: nobody has taken it away.

A server that evicts what is used least counts each touch: the state has to stay longest, as without it all begins anew.
"""

CLAIM = """
local found = redis.call('HMGET', KEYS[1], 'version', 'epoch')
local epoch = math.max(tonumber(found[2] or 0), tonumber(ARGV[2])) + 1
if found[1] ~= ARGV[3] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', ARGV[3], 'building', 'anew')
end
redis.call('HSET', KEYS[1], 'runner', ARGV[1], 'epoch', epoch)
for _ = 1, 2000 do redis.call('TOUCH', KEYS[1]) end
return epoch
"""
"""Take the state over, made anew where there is none of this version. ARGV: runner, epoch of an earlier claim, version."""

SET = (
    OURS
    + """
if ARGV[3] == '' then redis.call('DEL', KEYS[1])
elseif ARGV[4] == '' then redis.call('HDEL', KEYS[1], ARGV[3])
else redis.call('HSET', KEYS[1], ARGV[3], ARGV[4]) end
return 'ok'
"""
)
"""Set a field of the state; delete it, without a value; all of the state, without a field. ARGV: as OURS, field, value."""

COMMIT = (
    OURS
    + """
local at = 3
local function take() at = at + 1; return ARGV[at - 1] end
for _ = 1, tonumber(take()) do
  local field, before = take(), take()
  if (redis.call('HGET', KEYS[1], field) or '0') ~= before then return 'lost' end
end
for _ = 1, tonumber(take()) do
  if redis.call('EXISTS', take()) == 0 then return 'evicted' end
end
while at <= #ARGV do
  local size = tonumber(take())
  redis.call(unpack(ARGV, at, at + size - 1))
  at = at + size
end
return 'ok'
"""
)
"""Positions by compare-and-set, then commands, unless a hash that they change was evicted meanwhile.

Where the state is ours and stands elsewhere, Redis came back from a crash without its last second.

ARGV: as OURS; a count, then field and value as they must be; a count, then keys that must exist; then commands, each after its
number of words.
"""
