"""What all the rest speaks: faults, the host's clock and chance, messages, context, codec, settings, telemetry."""
