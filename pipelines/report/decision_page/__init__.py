"""The page of one decision, for a clinician to read."""
