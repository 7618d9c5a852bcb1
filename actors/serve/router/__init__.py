"""One address for several policies, or for a policy that moves from one application to the next: the model router."""
