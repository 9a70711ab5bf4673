"""All pairs of ranks: measured, grouped, and which of them stand out."""
