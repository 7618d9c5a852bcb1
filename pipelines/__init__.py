"""The flow and what is pure: cycles, preference data, metrics, decisions, recipes, reports, the command line."""
