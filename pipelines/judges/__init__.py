"""Judges that need no model, and how far any judge can be believed."""
