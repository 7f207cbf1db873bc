"""Bundles, releases, the registry and the production alias."""
