"""The lean client: the same requests and records as through the openai client, for a fraction of the work.

Sockets are read by the event loop's own word, HTTP is parsed by llhttp (through httptools), events are
decoded by msgspec into what is kept of them, and the kernel tells when they arrived.
"""
