"""Hosts whose figures are known, one TOML file each; `collectives/topology/presets.py` reads them."""
