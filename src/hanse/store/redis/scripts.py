"""What a server does for a store in one step, written in Lua.

Each says `#!lua`: then a server whose memory is full refuses it before it begins, and nothing is ever half written.
Whatever may fail otherwise (what the user may not do, keys of another type) is tried when a store is opened.
"""

from __future__ import annotations

from hanse.kernel.resp import Script

FORMAT = 1
"""Raised when the keys change in a way that an older version cannot read."""

TURN_MS = 500
"""For which others may not commit, once a process has lost against them: much more than it needs to try again."""

WRITER_SECONDS = 86_400
"""For which it is known what a process committed last."""

LOST_MAX = 2**24
"""Positions that are skipped where some may be lost: far more than any server takes before it flushes them."""

PIECE = 100
"""Entries that are read at once within a script."""

LOOKED_MAX = 1_000
"""Entries that a script looks at, at most, as others wait for it meanwhile."""

PIECE_ROWS = 500
"""Rows that are asked for at once, at most."""

PIECE_BYTES_MAX = 4 * 1024 * 1024
"""Of rows or entries in one answer; one alone may be larger."""

DONE, STALE, TURN, SHAPE, GONE, LATE = b"done", b"stale", b"turn", b"shape", b"gone", b"late"
"""What `COMMIT` comes to."""

# The news go first: should the user not be allowed to tell them, nothing is written.
COMMIT = Script(f"""#!lua
local call = redis.call
local known = call('HMGET', KEYS[1], 'log_id', 'shape', 'head')
if known[1] ~= ARGV[3] then
  return {{'gone'}}
end
local last = call('GET', KEYS[7])
if last and tonumber(string.match(last, '^%d+')) >= tonumber(ARGV[2]) then
  return {{'late'}}
end
if known[2] ~= ARGV[4] then
  return {{'shape'}}
end
local turn = call('GET', KEYS[6])
if turn and turn ~= ARGV[1] then
  return {{'turn'}}
end
local head, checks = known[3], cmsgpack.unpack(ARGV[6])
local stale = ARGV[5] ~= '' and ARGV[5] ~= head
for _, one in ipairs(checks[1]) do
  local found = call('HGET', KEYS[one[1]], one[2])
  if (found and string.match(found, '^%d+') or '0') ~= one[3] then
    stale = true
  end
end
for _, one in ipairs(checks[2]) do
  if call('HEXISTS', KEYS[3], one) == 1 then
    stale = true
  end
end
for _, one in ipairs(checks[3]) do
  if (call('HGET', KEYS[5], one[1]) or '0') ~= one[2] then
    stale = true
  end
end
if stale then
  call('SET', KEYS[6], ARGV[1], 'PX', {TURN_MS})
  return {{'stale'}}
end
local base, work = tonumber(head), cmsgpack.unpack(ARGV[7])
local dumped = #work.marks > 0 and call('HEXISTS', KEYS[8], '') == 1
local function at(offset)
  return string.format('%.0f', base + offset)
end
local upto = at(#work.entries)
if #work.entries > 0 then
  call('PUBLISH', ARGV[8], ARGV[1] .. ' ' .. upto)
  call('HSET', KEYS[1], 'head', upto)
end
call('SET', KEYS[7], ARGV[2] .. ' done ' .. head, 'EX', {WRITER_SECONDS})
if turn then
  call('DEL', KEYS[6])
end
for _, one in ipairs(work.gone) do
  call('HDEL', KEYS[one[1]], one[3])
  call('ZREM', KEYS[one[2]], one[3])
end
for _, one in ipairs(work.rows) do
  call('HSET', KEYS[one[1]], one[3], at(one[4]) .. ' ' .. one[5])
  call('ZADD', KEYS[one[2]], 0, one[3])
end
for _, one in ipairs(work.left) do
  call('ZREM', KEYS[one[1]], one[2])
end
for _, one in ipairs(work.joined) do
  call('ZADD', KEYS[one[1]], 0, one[2])
end
for _, one in ipairs(work.marks) do
  call('HSET', KEYS[3], one[1], one[3])
  call('ZADD', KEYS[4], one[2], one[1])
  if dumped then
    call('HSET', KEYS[8], one[1], '')
  end
end
for _, one in ipairs(work.positions) do
  call('HSET', KEYS[5], one[1], one[2])
end
for i, one in ipairs(work.entries) do
  local before = one[3]
  call('XADD', KEYS[2], at(i) .. '-0', 'n', one[1], 'a', one[2], 'r',
    type(before) == 'number' and at(before) or before, 'e', one[4])
end
return {{'done', head}}
""")
"""Writes a group of batches, or nothing.

Keys are meta, log, marks, marks.at, positions, turn, writer and dump, and then those of rows, ids and indexes, by
number. Given are the writer and its number, the log's id, the shape, the head that it rests on or nothing, what has to
hold (revisions of rows, marks that are missing, positions), what to write, and the channel of the news. What was read
may have changed since: then it is the writer's turn for a moment, so that it is not overtaken again and again.
"""

DECIDE = Script(f"""#!lua
local last = redis.call('GET', KEYS[1])
local number, what, head = string.match(last or '', '^(%d+) (%a+) ?(%d*)$')
if number ~= ARGV[1] then
  what, head = 'never', ''
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. what .. ' ' .. head, 'EX', {WRITER_SECONDS})
return {{what, head}}
""")
"""Whether a group was committed, of which that is not known; if it was not, it never will be, however late it comes.

Keys are that of the writer; its number.
"""

GREET = Script(f"""#!lua
local known = redis.call('HMGET', KEYS[1], 'format', 'run', 'log_id', 'head')
if not known[1] or tonumber(known[1]) > {FORMAT} then
  return ''
end
if known[2] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'run', ARGV[1])
  if ARGV[2] == '0' then
    redis.call('HSET', KEYS[1], 'head', string.format('%.0f', known[4] + {LOST_MAX}), 'log_id', ARGV[3])
    return ARGV[3]
  end
end
return known[3]
""")
"""The id of a log, which is another one after the server may have lost the end of it.

Keys are meta; the run of the server, whether it keeps all, and the id that the log has then.
"""

OPEN = Script(f"""#!lua
local known = redis.call('HMGET', KEYS[1], 'format', 'shape')
if (known[2] or '') ~= ARGV[1] then
  return 0
end
if not known[1] then
  redis.call('HSET', KEYS[1], 'format', '{FORMAT}', 'log_id', ARGV[2], 'run', ARGV[3], 'head', '0', 'trimmed', '0',
    'shape', '0')
end
local changed = cmsgpack.unpack(ARGV[4])
for _, one in ipairs(changed[1]) do
  redis.call('HSET', KEYS[2], one[1], one[2])
end
for _, one in ipairs(changed[2]) do
  redis.call('HSET', KEYS[3], one[1], one[2])
end
for i, one in ipairs(changed[3]) do
  redis.call('HDEL', KEYS[3], one)
  redis.call('UNLINK', KEYS[3 + i])
end
if #changed[1] + #changed[2] + #changed[3] > 0 then
  redis.call('HINCRBY', KEYS[1], 'shape', 1)
end
return 1
""")
"""Has a store, and collections and indexes in it, unless somebody else changed those since they were looked at.

Keys are meta, schemas and indexes, and those of the indexes that go; the shape that was seen or nothing, an id for the
log, the run of the server, and collections, indexes, and indexes that go.
"""

PROBE = Script("""#!lua
local key = KEYS[1]
redis.call('PUBLISH', ARGV[1], '')
redis.call('SET', key, '', 'PX', 1)
redis.call('DEL', key)
redis.call('HSET', key, 'a', '')
redis.call('HINCRBY', key, 'b', 1)
redis.call('HDEL', key, 'a')
redis.call('UNLINK', key)
redis.call('ZADD', key, 0, 'a')
redis.call('ZREM', key, 'a')
redis.call('XADD', key, '1-0', 'a', '')
redis.call('XTRIM', key, 'MINID', '=', '2-0')
redis.call('UNLINK', key)
return 1
""")
"""Whether all that scripts do is allowed. Keys are one that nobody uses; the channel of the news."""

CHANGES = Script(f"""#!lua flags=no-writes
local known = redis.call('HMGET', KEYS[1], 'head', 'trimmed')
if not known[1] then
  return nil
end
local wanted, cursor, count = nil, '(' .. ARGV[1] .. '-0', tonumber(ARGV[2])
if ARGV[3] ~= '' then
  wanted = {{}}
  for _, one in ipairs(cmsgpack.unpack(ARGV[3])) do
    wanted[one] = true
  end
end
local taken, looked, bytes, reached = {{}}, 0, 0, nil
if tonumber(ARGV[1]) < tonumber(known[1]) then
  while looked < {LOOKED_MAX} and #taken < count and bytes < {PIECE_BYTES_MAX} do
    local entries = redis.call('XRANGE', KEYS[2], cursor, '+', 'COUNT', {PIECE})
    for _, entry in ipairs(entries) do
      looked, cursor = looked + 1, '(' .. entry[1]
      if not wanted or wanted[entry[2][2]] then
        taken[#taken + 1] = entry
        bytes = bytes + #entry[2][8]
        if #taken == count or bytes >= {PIECE_BYTES_MAX} then
          break
        end
      end
    end
    if #entries < {PIECE} then
      if #entries == 0 or cursor == '(' .. entries[#entries][1] then
        reached = known[1]
      end
      break
    end
  end
else
  reached = ARGV[1]
end
return {{known[1], known[2], reached or string.match(cursor, '%d+'), looked, taken}}
""")
"""Entries after a position: keys are meta and log; the position, how many at most, and names or nothing.

It comes to the head, what was trimmed, the position that it reaches to, how many it looked at, and the entries.
"""

TRIM = Script(f"""#!lua
if redis.call('HEXISTS', KEYS[5], '') == 1 then
  return {{0, 0}}
end
local before, keep, gone, last, over = tonumber(ARGV[1]), tonumber(ARGV[2]), 0, nil, false
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', {LOOKED_MAX})) do
  local seq = string.match(entry[1], '%d+')
  if tonumber(entry[2][4]) >= before or tonumber(seq) > keep then
    break
  end
  gone, last = gone + 1, seq
end
if last then
  redis.call('HSET', KEYS[1], 'trimmed', last)
  redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', last + 1) .. '-0')
end
local old = redis.call('ZRANGE', KEYS[4], '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0, {LOOKED_MAX})
if #old > 0 then
  redis.call('HDEL', KEYS[3], unpack(old))
  redis.call('ZREM', KEYS[4], unpack(old))
end
return {{gone, #old}}
""")
"""Forgets the oldest entries and marks, so many at most: keys are meta, log, marks, marks.at and dump.

Given are before and keep_after. It comes to how many of each went; none while a dump is taken.
"""

SCAN = Script(f"""#!lua flags=no-writes
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
local found, bytes = {{}}, 0
for i = 1, #ids, {PIECE} do
  local last = math.min(i + {PIECE} - 1, #ids)
  for j, value in ipairs(redis.call('HMGET', KEYS[2], unpack(ids, i, last))) do
    if value then
      found[#found + 1], found[#found + 2] = ids[i + j - 1], value
      bytes = bytes + #value
    end
  end
  if bytes >= {PIECE_BYTES_MAX} and last < #ids then
    return {{1, found}}
  end
end
return {{#ids == tonumber(ARGV[2]) and 1 or 0, found}}
""")
"""Rows in the order of their ids: keys are ids and rows; where to begin, and how many at most.

It comes to whether there may be more, and ids with their rows.
"""

WALK = Script(f"""#!lua flags=no-writes
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return nil
end
local low, high, from, upto, count = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local members = {{}}
if ARGV[7] == '0' then
  members = redis.call('ZRANGE', KEYS[2], low, high, 'BYLEX', 'LIMIT', 0, count)
end
while ARGV[7] == '1' and #members < count do
  if from == '' then
    local top = redis.call('ZRANGE', KEYS[2], high, low, 'BYLEX', 'REV', 'LIMIT', 0, 1)
    if #top == 0 then
      break
    end
    local text = string.sub(top[1], 1, string.find(top[1], '%z') - 1)
    from, upto, high = '[' .. text .. '\\0', '(' .. text .. '\\1', '(' .. text .. '\\0'
  end
  for _, one in ipairs(redis.call('ZRANGE', KEYS[2], from, upto, 'BYLEX', 'LIMIT', 0, count - #members)) do
    members[#members + 1] = one
  end
  from = ''
end
local found, bytes, more = {{}}, 0, #members == count
for i = 1, #members, {PIECE} do
  local ids, last = {{}}, math.min(i + {PIECE} - 1, #members)
  for j = i, last do
    ids[#ids + 1] = string.sub(members[j], string.find(members[j], '%z') + 1)
  end
  for j, value in ipairs(redis.call('HMGET', KEYS[3], unpack(ids))) do
    if value then
      found[#found + 1], found[#found + 2] = ids[j], value
      bytes = bytes + #value
    end
  end
  if bytes >= {PIECE_BYTES_MAX} and last < #members then
    return {{1, members[last], found}}
  end
end
return {{more and 1 or 0, members[#members] or '', found}}
""")
"""Rows by an index: keys are indexes, the index and rows.

Given are the name of the index, the ends of a part of it, the ends of what is left of the key that is begun (or
nothing), how many at most, and whether keys fall; ids rise either way. It comes to whether there may be more, the last
place that it reached, and ids with their rows; or to nothing, where the index is gone.
"""

BUILD = Script("""#!lua
for _, one in ipairs(cmsgpack.unpack(ARGV[1])) do
  local found = redis.call('HGET', KEYS[1], one[1])
  if found and string.match(found, '^%d+') == one[2] then
    redis.call('ZADD', KEYS[2], 0, one[3])
  end
end
return 1
""")
"""Adds rows to an index that are still as they were read: keys are rows and the index; ids, revisions and members."""
