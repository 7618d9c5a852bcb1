"""The endpoint as Ray Serve's own configuration deploys it, for KubeRay's RayService."""
