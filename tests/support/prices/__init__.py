"""Price files, panels and markets for tests."""
