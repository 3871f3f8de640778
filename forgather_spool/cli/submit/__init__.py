"""Putting jobs into the queue, one or many: the options, what goes with a job, and what is refused at once."""
