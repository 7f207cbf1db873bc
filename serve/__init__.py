"""Forecasts from a published release; imports neither training code nor TensorFlow."""
