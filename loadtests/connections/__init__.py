"""Connections to the server under test, with exact receive timestamps at a low cost of CPU time.

Sockets are read by the event loop as soon as anything is there, and the kernel tells when it arrived; whoever
waits for an answer is woken for much of it at once. HTTP is parsed by llhttp (through httptools).
"""
