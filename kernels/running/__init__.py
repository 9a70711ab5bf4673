"""What each back end can do on this machine, and how kernels are launched there."""
