"""The prompts of a run, and how many tokens of them its models hold."""
