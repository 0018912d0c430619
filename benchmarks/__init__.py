"""What the suite itself costs the server under test. Run by hand, on a quiet machine."""
