"""What lies between client and server: a proxy for TCP connections that can be cut, slowed and held.

It runs in a process of its own, so that neither the load nor the conductor can delay what passes. It changes
no byte, and follows the requests that go by only to know their names.
"""
