"""Trainings that need no coordinator: the fine-tuning of a judge, and that of a policy before the cycles."""
