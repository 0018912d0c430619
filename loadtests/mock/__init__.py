"""A server for timing only: it sends made-up tokens on an exact schedule and logs when it sent each.

With it the load client is measured: what it can take at most, and how true its times are. It imitates the
form of vLLM's streams and nothing else of vLLM; nothing it does says anything about a real server.
"""
