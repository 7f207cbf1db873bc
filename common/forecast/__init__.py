"""From windows to forecasts in KES, with intervals and confidence."""
