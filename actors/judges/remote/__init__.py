"""A judge behind an OpenAI-compatible server."""
