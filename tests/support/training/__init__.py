"""Plans, runs, nights and evaluations for tests."""
