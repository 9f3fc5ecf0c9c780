"""Events to programs outside, and from them: signed, retried over days, and sent to no address inside."""
