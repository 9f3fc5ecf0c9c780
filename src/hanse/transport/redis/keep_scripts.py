"""What a server does in one step for events that it keeps, written in Lua.

All events of an app are entries of one stream, so that there is one order over all topics. Each group of subscribers is
a consumer group of it, with one consumer, `taker`: whoever has the group's turn. The turn is a key with a time to live
that holds a token; scripts look at it first, so whoever was paused past its turn takes and acknowledges nothing. What
a taker left is pending for the next one, which needs not claim it, as both are one consumer.
"""

from __future__ import annotations

from hanse.kernel.resp import Script

TURN_SECONDS = 4.0
"""For which a taker that is not heard of keeps its turn."""

SAME_SECONDS = 600
"""For which the id of an event is known at least, and twice as long at most: what comes again is not kept again."""

PIECE = 16
"""Entries that are read at once: each may be as large as a message may be."""

TAKE_BYTES_MAX = 1_048_576
"""Payload of one `TAKE`, above which it takes no further piece."""

LOOKED_MAX = 1_024
"""Entries that one `TAKE` looks at, as others wait for the server meanwhile."""

TRIM_SECONDS = 1.0
"""Between two looks of all nodes of an app at what may go."""

TAKER = "taker"
"""The consumer of each group."""

MINE, OTHERS, LOST = 1, 0, -1
"""Whose turn it is: that of who asks; somebody else's; it was that of who asks, and is not any more."""

# The ids of ten minutes are one set; the set before it is looked at too. To note each id with a time to live of its own
# takes twice the memory. The first write is refused where memory is short, so all are kept or none.
PUBLISH = Script(f"""
local slot = math.floor(redis.call('TIME')[1] / {SAME_SECONDS})
local ids, before = KEYS[2] .. slot, KEYS[2] .. (slot - 1)
local given, new, places, seen = {{}}, {{}}, {{}}, {{}}
for i = 1, #ARGV, 3 do
  given[#given + 1] = ARGV[i]
end
local now, earlier = redis.call('SMISMEMBER', ids, unpack(given)), redis.call('SMISMEMBER', before, unpack(given))
for i, id in ipairs(given) do
  if now[i] == 0 and earlier[i] == 0 and not seen[id] then
    seen[id], new[#new + 1], places[#places + 1] = true, id, 3 * i - 1
  end
end
if #new == 0 then
  return 0
end
local first = redis.call('EXISTS', ids) == 0
redis.call('SADD', ids, unpack(new))
for _, i in ipairs(places) do
  redis.call('XADD', KEYS[1], '*', 't', ARGV[i], 'm', ARGV[i + 1])
end
if first then
  redis.call('EXPIRE', ids, {3 * SAME_SECONDS})
  redis.call('UNLINK', KEYS[2] .. (slot - 2))
end
redis.call('PUBLISH', KEYS[1], '')
return #new
""")
"""Keeps events: keys are the stream and what the names of sets of ids begin with; id, topic and payload of each."""

OPEN = Script("""
for _, group in ipairs(redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}) do
  if group[2] == ARGV[1] then
    return 0
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
return 1
""")
"""Has a group: keys are the stream; the group."""

TAKE = Script(f"""
local owner = redis.call('GET', KEYS[2])
if owner ~= ARGV[2] then
  if ARGV[4] == '1' then
    return {{{LOST}}}
  end
  if owner and owner ~= ARGV[5] then
    return {{{OTHERS}, redis.call('PTTL', KEYS[2])}}
  end
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
local wanted = {{}}
for i = 8, #ARGV do
  wanted[ARGV[i]] = true
end
local cursor, count, bytes, looked, gone = ARGV[6], tonumber(ARGV[7]), 0, 0, 0
local taken, left = {{}}, {{}}
while count > 0 and bytes < {TAKE_BYTES_MAX} and looked < {LOOKED_MAX} do
  local piece = redis.call('XREADGROUP', 'GROUP', ARGV[1], '{TAKER}', 'COUNT', math.min(count, {PIECE}),
    'STREAMS', KEYS[1], cursor)
  local entries = piece and piece[1][2] or {{}}
  if #entries == 0 then
    if cursor == '>' then
      looked = 0
      break
    end
    cursor = '>'
  end
  looked = looked + #entries
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if cursor ~= '>' then
      cursor = entry[1]
    end
    if fields and wanted[fields[2]] then
      taken[#taken + 1], taken[#taken + 2] = entry[1], fields[4]
      count, bytes = count - 1, bytes + #fields[4]
    else
      left[#left + 1] = entry[1]
      gone = gone + (fields and 0 or 1)
    end
  end
end
if #left > 0 then
  redis.call('XACK', KEYS[1], ARGV[1], unpack(left))
end
return {{{MINE}, cursor, looked, gone, taken}}
""")
"""Takes events for a group: keys are the stream and the turn.

Given are the group, the token, the milliseconds of a turn, whether the turn is said to be that of who asks, a token
that is known to be over, a cursor, a count, and topics. What is not of these topics counts as handled. It comes to
whose turn it is, with the milliseconds for which that lasts; or with the cursor to go on from, how much was looked at
(0 where nothing is left), how many are not there any more, and what was taken.
"""

DONE = Script(f"""
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return {LOST}
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3))
return {MINE}
""")
"""Acknowledges events of a group: keys are the stream and the turn; the group, the token, and entries."""

LEAVE = Script(f"""
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return {LOST}
end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', KEYS[1], '=' .. ARGV[1])
return {MINE}
""")
"""Ends a turn: keys are the stream and the turn; the group, and the token."""

LEFT = Script(f"""
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then
    local behind = group[12] or #redis.call('XRANGE', KEYS[1], '(' .. group[8], '+', 'COUNT', {PIECE})
    return group[6] + behind
  end
end
return 0
""")
"""How many events a group has not handled, those of other topics among them that nobody has looked at yet.

Where the server has lost count, as somebody took an entry out of the stream, it is at least whether there are any. Keys
are the stream; the group.
"""

# What is pending of a group, and what it has not seen, stays, but for what is older than anything may be. A group that
# took nothing for as long is forgotten: should it come back, it begins with the oldest that is kept, as it would do
# anyway.
HOLD = Script(f"""
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return {{{LOST}}}
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if not redis.call('SET', KEYS[3], '', 'NX', 'PX', {TRIM_SECONDS * 1_000:.0f}) then
  return {{{MINE}}}
end
local function number(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  return tonumber(ms), tonumber(seq)
end
local function before(one, other)
  local ms, seq = number(one)
  local ms2, seq2 = number(other)
  return ms < ms2 or (ms == ms2 and seq < seq2)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ago(seconds)
  return string.format('%.0f-0', math.max(0, now - seconds * 1000))
end
local oldest, told, forgotten = ago(ARGV[5]), {{}}, {{}}
local upto = ago(redis.call('XLEN', KEYS[1]) > tonumber(ARGV[6]) and 0 or ARGV[4])
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, reached, pending = group[2], group[8], group[6] > 0
  if pending then
    reached = redis.call('XPENDING', KEYS[1], name)[2]
  end
  if before(reached, oldest) and #redis.call('XRANGE', KEYS[1], (pending and '' or '(') .. reached, '(' .. oldest,
      'COUNT', 1) > 0 then
    local taker = redis.call('XINFO', 'CONSUMERS', KEYS[1], name)[1]
    if not taker or taker[6] > ARGV[5] * 1000 then
      redis.call('XGROUP', 'DESTROY', KEYS[1], name)
      forgotten[#forgotten + 1] = name
    else
      told[#told + 1] = name
      upto = before(oldest, upto) and oldest or upto
    end
  elseif before(reached, upto) then
    upto = reached
  end
end
redis.call('XTRIM', KEYS[1], 'MINID', '=', before(upto, oldest) and oldest or upto)
return {{{MINE}, told, forgotten}}
""")
"""Keeps a turn, and now and then lets go what may go: keys are the stream, the turn, and what says when that was.

Given are the group, the token, the milliseconds of a turn, `Options.handled`, `kept` and `handled_max`. It comes to
whose turn it is; and which groups lost events, and which were forgotten, as what they did not handle was too old.
"""
