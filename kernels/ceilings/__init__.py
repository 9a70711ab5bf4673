"""What bounds a kernel: what memory, caches and multiply-adders give here, and what vendors say of GPUs."""
