"""One fit: the epoch loop, its losses, data and state."""
