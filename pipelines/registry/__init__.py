"""The policy registry: every published policy with its version, lineage, content hashes and model card."""
