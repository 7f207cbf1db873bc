"""The page at ``/``: the files in ``static``, without a build step and without external resources."""
