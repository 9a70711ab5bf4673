"""How a schedule is run: the transports, and the MPI library's own collectives beside them."""
