"""Servers, clients and hostile requests for tests."""
