"""The way in to the served policy: who may ask for what, how much, and what is measured of it; one ASGI middleware."""
