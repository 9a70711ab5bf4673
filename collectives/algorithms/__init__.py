"""The catalogue of algorithms: every module here is one, and ends in `ALGORITHM = Algorithm(...)`."""
