"""A judge fine-tuned on labels: the split of the labels, the training, and its record."""
