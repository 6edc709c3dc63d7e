"""The messages of the suite, one module per protocol; a module's docstring names the RFC.

Each module declares its records and, as values, the endpoints (request and response) and events made of them.
`protocols.py` lists them all: what serves, calls, tests and documents a protocol goes by that list.
"""
