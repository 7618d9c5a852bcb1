"""What listens at the endpoint: Serve's own proxy or HAProxy, and how both are hardened."""
