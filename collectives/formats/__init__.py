"""Formats of files that describe topologies, one file each; `collectives/topology/file.py` finds them."""
