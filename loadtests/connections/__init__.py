"""Connections to the server under test, with exact receive timestamps at a low cost of CPU time.

The event loop reads sockets as soon as data is there, and the kernel stamps its arrival. A waiting request is
woken once for many events. HTTP is parsed by llhttp (through httptools).
"""
