"""The spool: files and nothing else. What stands where is `paths.py`, how it gets there `files.py`."""
