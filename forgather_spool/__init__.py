"""forgather-spool: a job system for people who train models, made of files and systemd.

Importing this package costs nothing; each face imports what it needs.
"""

__version__ = "0.1.0"
