"""What one device can do: kernels with their reference, cost, error bound, and an implementation for each back end."""
