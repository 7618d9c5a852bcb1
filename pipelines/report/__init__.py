"""What a person reads of a run: its tables, its figure and its timeline."""
