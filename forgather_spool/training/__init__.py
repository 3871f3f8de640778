"""Training jobs: configs, the built-in trainer, and the logs runs leave behind.

`config` and what it stands on need neither torch nor a spool; `builtin` needs
the extra ``[train]``; `logs` reads what any run of ours wrote.
"""
