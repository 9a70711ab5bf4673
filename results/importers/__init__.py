"""The catalogue of importers: one file for the output of one tool, which ends in the constant `IMPORTER`."""
