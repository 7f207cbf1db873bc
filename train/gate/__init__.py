"""The gate to production: a checklist, and a comparison with the release in production."""
