"""The guard of an endpoint, off by default: no answer goes out before it was judged, and an unsafe one never does."""
