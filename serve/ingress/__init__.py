"""The HTTP application: routes, authentication, limits and errors."""
