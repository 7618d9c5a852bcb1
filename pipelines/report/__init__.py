"""What a person reads of a run: figure, tables, summary."""
