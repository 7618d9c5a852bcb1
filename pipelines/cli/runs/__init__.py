"""`salus runs` and `salus status`."""
