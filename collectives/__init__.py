"""What the interconnect can do: schedules as data, their proofs, and the transports that run them."""
