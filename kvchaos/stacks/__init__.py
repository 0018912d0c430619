"""Where the server under test comes from, how it is started and ended, and what cleans up after a kill."""
