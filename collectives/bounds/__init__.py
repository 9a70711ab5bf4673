"""What no algorithm beats on a topology: cuts, end points and latencies, and what a class of algorithms can reach."""
