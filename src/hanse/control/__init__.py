"""What the platform decides: what should run, what the edge shows, how a release is judged. Values, and no effects."""
