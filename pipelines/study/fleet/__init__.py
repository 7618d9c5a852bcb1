"""A fleet: several policies, each with a recipe of its own, aligned side by side in one Ray cluster."""
