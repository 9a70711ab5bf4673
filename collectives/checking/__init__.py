"""Data whose result is known, and how a result is held against it."""
