"""A proxy between client and server, whose TCP connections can be cut, slowed and stalled.

It runs in its own process, so that neither the load nor the conductor delays the traffic. It changes no byte,
and tracks the requests only to know their ids.
"""
