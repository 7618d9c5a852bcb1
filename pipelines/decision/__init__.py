"""The decision of a cycle: the rule, its gates and paired test, and the record of what was chosen and why."""
