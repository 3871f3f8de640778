"""The dispatcher: looks at the spool, decides, claims, launches, and settles what was interrupted.

It knows nothing that is not on disk or asked of the machine: killed at any
line, the next one looks and goes on.
"""
