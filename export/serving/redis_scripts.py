"""What a Redis server runs in one step: nothing comes between, and a crash keeps all of it or nothing.

The keys of OPEN, STAGE and COMMIT are those of `keys_of`. Writes are triples: number of the key, field, value. The
first command that writes needs memory: only there a server without memory refuses a script.
"""

from __future__ import annotations

HEADER, VERSION, LOCK, LAST, STAGED, ROWS, COUNTERS = range(7)
"""Places in `keys_of`: the header, the number of transactions, who works, the time of the last row, whose large
transaction is being sent, rows, counters."""


def keys_of(relations: int) -> list[str]:
    """Return the keys of a store; rows and the counters of each relation are hashes."""
    counters = [f"counters:{at}" for at in range(relations)]
    return [f"lorkit:{name}" for name in ("header", "version", "lock", "last", "staged", "rows", *counters)]


OPEN = """
local header = redis.call('GET', KEYS[1])
if header then return header end
if redis.call('EXISTS', unpack(KEYS)) > 0 then return '' end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], 0)
return ARGV[1]
"""
"""Return the header: a new one in a database without a store, an empty text if only the header is missing."""

STAGE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3] == 'first' then
  redis.call('SET', KEYS[5], ARGV[2])
  for i = 6, #KEYS do redis.call('DEL', KEYS[i] .. ':staged') end
end
if redis.call('GET', KEYS[5]) ~= ARGV[2] then return 0 end
for i = 5, #ARGV, 3 do redis.call('HSET', KEYS[tonumber(ARGV[i])] .. ':staged', ARGV[i + 1], ARGV[i + 2]) end
return 1
"""
"""Send a part of a large transaction of a new store: version, token, 'first' or 'next', ''; 0 if it was overtaken."""

COMMIT = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3] == 'staged' and redis.call('GET', KEYS[5]) ~= ARGV[2] then return 0 end
redis.call('INCR', KEYS[2])
if redis.call('DEL', KEYS[5]) == 1 then
  for i = 6, #KEYS do
    local staged = KEYS[i] .. ':staged'
    if ARGV[3] == 'staged' and redis.call('EXISTS', staged) == 1 then redis.call('RENAME', staged, KEYS[i]) end
    redis.call('DEL', staged)
  end
end
for i = 5, #ARGV, 3 do redis.call('HSET', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]) end
if ARGV[4] ~= 'same' then redis.call('SET', KEYS[4], ARGV[4]) end
if redis.call('GET', KEYS[3]) == ARGV[2] then redis.call('DEL', KEYS[3]) end
return 1
"""
"""Write a transaction: version, token, 'staged' or 'whole', last time or 'same'; 0 if another was written before."""

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""Give the lock back."""
