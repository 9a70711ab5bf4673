"""The catalogue: one file a kernel, each ends in `KERNEL = Kernel(...)`. Machinery lives a level above."""
