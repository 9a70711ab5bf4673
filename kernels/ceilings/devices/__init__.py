"""GPUs as their vendors describe them: one TOML file each, see `kernels/ceilings/vendor.py`."""
