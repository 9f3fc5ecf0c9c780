"""Twins of brokers: small servers that speak a broker's protocol as our adapters use it, and fail as it does."""
