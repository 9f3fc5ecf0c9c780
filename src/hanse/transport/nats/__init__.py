"""`nats://`: messages through a NATS server or a cluster of them; the broker balances among instances.

The client is our own: a request is one line and one frame, and all that one turn of the loop says is one write.
"""
