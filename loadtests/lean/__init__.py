"""The lean client: the same requests and records as through the openai client, for a fraction of the work.

It has nothing of its own between the connection and the answer but the split into events.
"""
