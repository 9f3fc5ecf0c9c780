"""Our own edge: one process that speaks HTTP/1.1 on both sides, and is driven over a unix socket."""
