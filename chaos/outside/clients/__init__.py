"""What clients do to a server: requests that are malformed or too large, and crowds that leave."""
