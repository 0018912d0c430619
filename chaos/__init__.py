"""The faults, and what lets a server without a GPU offload at all."""
