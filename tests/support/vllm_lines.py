"""What vLLM and its web server write themselves, where tests look for it."""

STARTED = "Application startup complete"
