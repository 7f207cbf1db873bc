"""What stands between a release and production: the checklist, and the contest with what is there."""
