"""Data sets and the servers of them."""
