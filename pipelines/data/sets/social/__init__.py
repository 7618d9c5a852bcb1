"""Sets that ask for social bias and for toxic continuations."""
