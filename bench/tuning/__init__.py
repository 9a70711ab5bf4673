"""Finding what a library should choose: its own algorithms measured, the fastest written as a file that it loads."""
