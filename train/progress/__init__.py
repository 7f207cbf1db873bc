"""Show the progress of training."""
