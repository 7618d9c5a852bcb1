"""A folder of files that goes to the hub: what may leave, and the upload."""
