"""A cluster of several Ray nodes on this machine."""
