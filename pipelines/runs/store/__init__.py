"""Runs in an object store or on another file system: worked on in a local folder, kept at an address."""
