"""What a service promises: declared by users, derived from type hints, compared and published. Pure."""
