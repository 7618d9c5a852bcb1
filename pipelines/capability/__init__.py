"""Capability is kept: what an aligned policy must not lose, measured on given answers, compared, and gated."""
