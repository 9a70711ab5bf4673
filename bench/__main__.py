"""`python -m clusterbench.bench` is `clusterbench`."""

from clusterbench.bench.cli import main

if __name__ == "__main__":
    main()
