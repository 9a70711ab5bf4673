"""Networks between hosts, one file each; `collectives/topology/fabric.py` finds them."""
