"""The runner: the first process in a job's scope, and the nursery it is forked from.

Empty on purpose: what is imported here is paid for by every running job.
"""
