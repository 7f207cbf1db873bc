"""Calls from the router to the models' replicas."""
