"""How far a judge can be believed: calibrated against people's labels, trusted or refused, and trained."""
