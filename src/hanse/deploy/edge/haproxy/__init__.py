"""HAProxy as the engine of an edge: its configuration and its commands are worked out, then carried out."""
