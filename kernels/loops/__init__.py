"""Inner loops of the CPU's kernels, whose vectors, reads and writes past the caches are written out."""
