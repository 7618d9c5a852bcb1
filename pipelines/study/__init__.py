"""A study: every regimen on every model, several policies side by side in one Ray cluster, one report of all."""
