"""`zmq://` and `zmq+ipc:`: the frames of `hanse.transport.stream`, carried by ZeroMQ; needs `hanse[zmq]`."""
