"""An emulated cluster: the network of a topology, built on this machine from network namespaces and shaped links."""
