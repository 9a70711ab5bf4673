"""A schedule for ranks that share memory, as few passes over it."""
