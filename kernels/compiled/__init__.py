"""What compilers make of the GPU sources, without a GPU: machine code for each target, read and held to rules."""
