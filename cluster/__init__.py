"""Connecting to Ray: a local cluster today, the same calls on many nodes."""
