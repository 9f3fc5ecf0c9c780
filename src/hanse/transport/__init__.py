"""What moves messages: the port, and an adapter a file."""
