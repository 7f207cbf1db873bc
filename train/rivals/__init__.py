"""What the networks are compared with: simple forecasts of the same windows."""
