"""Training: jobs, the epoch loop, the Ray Train fleet, evaluation and publishing."""
