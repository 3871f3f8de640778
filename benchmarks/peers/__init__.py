"""Servers of others, each a small program that prints its port. Nothing of ours is imported."""
