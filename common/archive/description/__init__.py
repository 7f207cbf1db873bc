"""Describe price files that were never seen: how they are written, with reasons and doubts."""
