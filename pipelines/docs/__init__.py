"""The documentation as a site: pages beside the code are gathered, and the reference is made from the code."""
