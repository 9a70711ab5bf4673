"""`clusterbench sweep`: its file, its plan, its jobs and its script."""
