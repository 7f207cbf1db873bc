"""The page at ``/``: files as they lie in ``static``, no build step, nothing from elsewhere."""
