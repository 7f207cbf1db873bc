"""Request and response bodies of API v4."""
