"""What a call takes, without simulating it: the model that NCCL chooses by, and curves fitted to measurements."""
