"""The clients that send completions and tell each as one record; a run chooses one of them.

Both ask by the same body, read through the same connections and add up the same answer. `openai` is the
reference: the openai client with its own requests, errors and streams. `lean` has no HTTP client in between.
"""
