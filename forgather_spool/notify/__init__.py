"""Telling people and programs that a job has ended: `python -m forgather_spool.notify`, started by the dispatcher.

It lives for as long as there is something to tell, away from the dispatcher:
a mail server that hangs or a hook that crashes is its problem alone.
"""
