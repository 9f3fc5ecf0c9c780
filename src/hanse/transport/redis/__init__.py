"""`redis://`: messages through Redis or Valkey; instances take requests from one list, each when it has the time.

The client is our own, on the parser of `hiredis`: redis-py takes a connection from a pool for each command that is
under way, and closes it where a caller is cancelled, as the reply would be taken for the next one's. Here all commands
go through one connection, and what one turn of the loop says is one write.
"""
