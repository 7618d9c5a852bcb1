"""Policies merged into one: LoRA adapters, and whole weights."""
