"""The built-in trainer: a causal language model on local text, with the Hugging Face Trainer underneath.

    python -m forgather_spool.training.lm RESOLVED_CONFIG.json [--resume [PATH]]

Needs the extra ``[train]``; only `section` does without it. The same seed gives
the same losses, and a resumed run those of one that was never interrupted.
"""
