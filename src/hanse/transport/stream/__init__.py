"""`unix:` and `tcp://`: messages over sockets, from node to node; see `direct.StreamDirect`."""
