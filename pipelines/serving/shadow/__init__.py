"""A challenger unseen beside the live policy: the service that runs it, and the report on what it answered."""
