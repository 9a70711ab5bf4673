"""A world of ranks: how it is joined, recorded, watched and ended."""
