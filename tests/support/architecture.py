"""The heavy libraries that only some packages may import."""

HEAVY = {"keras", "tensorflow"}
