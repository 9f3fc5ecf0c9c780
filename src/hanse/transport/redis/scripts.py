"""What a server does for us in one step, written in Lua."""

from __future__ import annotations

from collections.abc import Sequence

from hanse.kernel.faults import Unavailable
from hanse.kernel.resp import ReplyError, Script, Wire

WAITING_MAX = 100_000
"""Requests that wait for the instances of one service; what comes beyond is refused."""

LIST_SECONDS = 10
"""After which a list is gone that nobody adds to any more."""

SWEPT_MAX = 256
"""Requests that are taken out at once where nobody is left to serve them."""

TAKEN, NOBODY, FULL = 1, 0, -1
"""What `SEND` comes to."""


async def run(wire: Wire, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> object:
    """What a script comes to; the server is told it where it does not know it.

    Raises:
        Unavailable: The server refuses it, or went away.
    """
    parts = (b"%d" % len(keys), *keys, *arguments)
    try:
        try:
            return await wire.ask(b"EVALSHA", script.sha, *parts)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            return await wire.ask(b"EVAL", script.source, *parts)
    except ReplyError as error:
        raise Unavailable(f"Redis refuses: {error}") from None
    except ConnectionError as error:
        raise Unavailable(f"the connection to Redis broke: {error}") from None


# An instance is subscribed to the channel of its service for as long as its connection lives, so a server knows at once
# who is there: keys with a time to live would tell for seconds of one that has died. Its clock is the one that says how
# long something has waited, as those of two machines differ.
SEND = Script(f"""
if redis.call('PUBSUB', 'NUMSUB', KEYS[1])[2] == 0 then
  return {NOBODY}
end
local time = redis.call('TIME')
if redis.call('RPUSH', KEYS[1], time[1] .. ':' .. time[2] .. ' ' .. ARGV[1]) > {WAITING_MAX} then
  redis.call('RPOP', KEYS[1])
  return {FULL}
end
redis.call('EXPIRE', KEYS[1], {LIST_SECONDS})
return {TAKEN}
""")
"""Adds a request to a list, unless nobody serves it."""

SWEEP = Script(f"""
if redis.call('PUBSUB', 'NUMSUB', KEYS[1])[2] == 0 then
  return redis.call('LPOP', KEYS[1], {SWEPT_MAX})
end
return nil
""")
"""Takes what waits where nobody serves it any more."""

ALL = (SEND, SWEEP)
