"""Commands that serve, forecast and prove."""
