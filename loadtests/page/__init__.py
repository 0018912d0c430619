"""Charts of TTFT, ITL, tokens and the client's own delay on Locust's page, below those that Locust draws."""
