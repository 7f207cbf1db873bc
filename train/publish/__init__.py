"""From a finished run to a release."""
