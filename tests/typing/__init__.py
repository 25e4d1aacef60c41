"""The types of the public surface."""
