"""Server environments: one virtual environment for each vLLM release, apart from the suite's own."""
