"""What transports have in common that go through a broker, and know one another by what comes over it."""
