"""Simple forecasts with which the networks are compared."""
