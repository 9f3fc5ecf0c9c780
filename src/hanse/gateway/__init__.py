"""How the outside gets in: HTTP, Server-Sent Events and WebSocket in front of the services of a node."""
