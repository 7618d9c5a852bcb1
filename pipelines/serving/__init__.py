"""Serving the registry's current policy: one endpoint follows promotions and rollbacks while it answers."""
