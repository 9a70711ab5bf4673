"""A schedule as what each rank does: steps, compiled from its messages, and what is proven of them."""
