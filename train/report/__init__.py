"""The report of a release: one HTML page."""
