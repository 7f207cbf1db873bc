"""Load and faults: a real server under requests while parts of it are ended, and what is left on disk."""
