"""What a run measures beside the validation split."""
