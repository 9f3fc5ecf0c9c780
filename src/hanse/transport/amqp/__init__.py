"""`amqp://`: messages through RabbitMQ; instances take requests from one queue. It needs `hanse[amqp]`.

The client is our own, on the codec of `pamqp`: aio-pika makes about a dozen objects for each message, writes each to
the socket by itself, and waits for one confirm after the other. Here what one turn of the loop says is one write, and
what every message needs is made and read without a detour.
"""
