"""What is measured and how: sampling, requests, calls, and the rows that they give."""
