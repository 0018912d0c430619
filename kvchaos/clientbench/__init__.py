"""What this machine's load client can take at most, measured against the mock server."""
