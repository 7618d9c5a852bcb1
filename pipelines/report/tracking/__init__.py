"""Trackers of experiments, told of a run by its files."""
