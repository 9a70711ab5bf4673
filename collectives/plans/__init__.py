"""Plans and rules of other libraries, read and written: MSCCL XML, rules of Open MPI, the tuner file of NCCL."""
