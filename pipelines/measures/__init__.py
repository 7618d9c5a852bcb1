"""What is measured of a policy: safety, capability and harmfulness, each figure with its interval. Pure."""
