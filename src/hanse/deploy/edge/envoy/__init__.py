"""The edge that Envoy is."""
