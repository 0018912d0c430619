"""Laws of the server's metrics: each metric of each release, and the rules that bind it."""
