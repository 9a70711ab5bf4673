"""How it is measured: command line, sampling, launching, running, judging."""
