"""What measures in several parts: `clusterbench run`, and the calibration of choices."""
