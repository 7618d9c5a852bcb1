"""What a run trains: its challengers, what is merged of them, and what is fine-tuned before the first cycle."""
