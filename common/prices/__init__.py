"""Panel, series and windows."""
