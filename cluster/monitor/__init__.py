"""Live accuracy of served forecasts."""
