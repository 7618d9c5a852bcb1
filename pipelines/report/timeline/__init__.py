"""Where a run's time went: read from its folder; as lanes, a picture, a trace and a table."""
