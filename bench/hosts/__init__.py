"""This host: what is recorded of it, and its topology."""
