"""The Ray Train run: workers that take tasks from a queue."""
