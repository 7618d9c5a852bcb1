"""MedSafetyBench harmfulness of the final test: scores by the run's judge, and the figure made of them."""
