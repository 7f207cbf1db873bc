"""The Ray Train run: workers, their queue, and the tasks they do."""
