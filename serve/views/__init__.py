"""Pages of API v4 that are only read."""
