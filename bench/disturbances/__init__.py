"""What spoils a measurement on these hosts: facts are gathered in one place and judged in others."""
