"""The faults, and the copy backend for servers without a GPU."""
