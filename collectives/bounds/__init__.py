"""What no algorithm beats on a topology, and what no algorithm of a class beats."""
