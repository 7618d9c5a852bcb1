"""What the review page and the dashboard show of a run, read from its folder and from the registry."""
