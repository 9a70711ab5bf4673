"""Whether a kernel is right: data, the checks, and the process that they are made in."""
