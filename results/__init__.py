"""What was measured: record, journal, store, statistics, comparison, report. Knows nothing of how it was measured."""
