"""Rows of dataset servers: the same bytes in the same order as from files here, whatever happens on the way.

`loading.py` finds the servers and what they have, `rows.py` is what a data set
reads from, `reading.py` one walk over as many connections as it takes, `server.py` speaks the protocol.
"""
