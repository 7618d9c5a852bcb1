"""Kubernetes: manifests of KubeRay, and the image that their pods run."""
