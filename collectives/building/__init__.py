"""What algorithms are built of."""
