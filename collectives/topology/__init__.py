"""The machine as a graph: vertices, links, routes, placement of ranks, faults, and where it is read from."""
