"""The clients that send completion requests and write one record for each; a run chooses one of them.

Both send the same body, read from the same connections and sum up the same response. `openai` is the
reference: the openai client with its own requests, errors and streams. `lean` has no HTTP client in between.
"""
