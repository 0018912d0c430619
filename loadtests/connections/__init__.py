"""Connections to the server under test, read so that the times are true and reading costs little.

Sockets are read by the event loop as soon as anything is there, and the kernel tells when it arrived; whoever
waits for an answer is woken for much of it at once. HTTP is parsed by llhttp (through httptools).
"""
