"""Configuration: one pydantic model per concern, composed into a recipe."""
