"""Starting a service."""
