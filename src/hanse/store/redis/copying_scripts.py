"""What a server does in one step while a store is dumped, or restored."""

from __future__ import annotations

from hanse.kernel.resp import Script
from hanse.store.redis.scripts import PIECE_BYTES_MAX

DUMP_SECONDS = 600
"""For which a dump may wait for whoever takes it; then writers stop keeping books for it."""

BEGIN = Script(f"""#!lua flags=allow-oom
local known = redis.call('HMGET', KEYS[1], 'log_id', 'head', 'trimmed')
if not known[1] then
  return nil
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], '', ARGV[1])
redis.call('EXPIRE', KEYS[2], {DUMP_SECONDS})
return {{known[1], known[2], known[3], redis.call('ZCARD', KEYS[3]), redis.call('HGETALL', KEYS[4])}}
""")
"""The moment of a dump. From then on marks are noted, and nothing is trimmed; a dump from before is told so.

Keys are meta, dump, marks.at and positions; the id of the dump. It comes to the log's id, the head, what was trimmed,
the number of marks, and all positions: those have no history, and are few and small.
"""

GOING = Script(f"""#!lua flags=allow-oom
local known = redis.call('HMGET', KEYS[1], 'log_id', 'trimmed')
if not known[1] or redis.call('HGET', KEYS[2], '') ~= ARGV[1] then
  return nil
end
redis.call('EXPIRE', KEYS[2], {DUMP_SECONDS})
return known
""")
"""The log's id and what was trimmed, or nothing if the dump is none any more: keys are meta and dump; its id."""

MARKS = Script(f"""#!lua flags=no-writes
local first = 0
if ARGV[1] ~= '' then
  first = redis.call('ZRANK', KEYS[2], ARGV[1])
  if not first then
    return nil
  end
  first = first + 1
end
local there = redis.call('ZRANGE', KEYS[2], first, first + ARGV[2] - 1, 'WITHSCORES')
local found, bytes, last = {{}}, 0, ''
for i = 1, #there, 2 do
  last = there[i]
  if redis.call('HEXISTS', KEYS[3], last) == 0 then
    local value = redis.call('HGET', KEYS[1], last)
    if not value then
      return nil
    end
    found[#found + 1], found[#found + 2], found[#found + 3] = last, there[i + 1], value
    bytes = bytes + #last + #value
    if bytes >= {PIECE_BYTES_MAX} then
      break
    end
  end
end
return {{last, redis.call('ZCARD', KEYS[2]), redis.call('HLEN', KEYS[3]), found}}
""")
"""Marks that were there when a dump began: keys are marks, marks.at and dump; the last one before, how many at most.

It comes to the last one that was looked at, or nothing at the end; how many marks there are; how many things the books
of the dump have; and marks, each with its second and what is kept of it. It comes to nothing at all where marks went.
"""

END = Script("""#!lua flags=allow-oom
if redis.call('HGET', KEYS[1], '') == ARGV[1] then
  redis.call('UNLINK', KEYS[1])
end
return 1
""")
"""Ends a dump: keys are dump; its id."""

FULL, OTHER, SHAPED, LOADED = b"full", b"other", b"shaped", b"loaded"
"""What `FINISH` comes to, beside a key that holds something."""

FINISH = Script("""#!lua
local known = redis.call('HMGET', KEYS[1], 'log_id', 'shape')
if not known[1] or redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 0 then
  return {'other'}
end
if known[2] ~= ARGV[2] then
  return {'shaped'}
end
if redis.call('XLEN', KEYS[4]) > 0 then
  return {'full', KEYS[4]}
end
local half = (#KEYS - 2) / 2
for i = 5, 2 + half do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    return {'full', KEYS[i]}
  end
end
local positions = redis.call('EXISTS', KEYS[3 + half]) == 1
for i = 3, 2 + half do
  if redis.call('EXISTS', KEYS[i + half]) == 1 then
    redis.call('RENAME', KEYS[i + half], KEYS[i])
  end
end
if not positions then
  redis.call('DEL', KEYS[3])
end
redis.call('HSET', KEYS[1], 'head', ARGV[3], 'trimmed', ARGV[4], 'log_id', ARGV[5])
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[6], '- ' .. ARGV[3])
return {'loaded'}
""")
"""Has all that was loaded take effect at once, where nothing is stored but positions.

Keys are meta and load, then those of the store, positions and log first, and then those that were loaded, in that
order. Given are one of the latter, the shape that they were made for, the head, what was trimmed, the log's new id, and
the channel of the news. The first thing that it may not do is the first that it does, so it is never half done.
"""
