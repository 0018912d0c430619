"""The faults, and the copy backend with which a server without a GPU offloads."""
