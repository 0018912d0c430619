"""Load workers on other machines: the master in the conductor, the workers, and their protocol."""
