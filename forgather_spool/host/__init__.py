"""The machine: processes, systemd scopes, NVML, the journal. Knows no spool.

Empty on purpose: the runner imports `host.proc` and `host.journal`, and would
pay here for everything else.
"""
