"""``python -m forgather_spool.training.lm CONFIG.json``: what `forgather train` and torchrun start."""

from __future__ import annotations

import argparse
import os
import sys

from forgather_spool.cli import reported
from forgather_spool.errors import Missing, UsageError
from forgather_spool.spool import files
from forgather_spool.training.lm.section import section_of


def main(words: list[str]) -> int:
    """Train as the words say. Raises ForgatherError for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m forgather_spool.training.lm", description="Train.")
    parser.add_argument("config", help="a resolved config, JSON (forgather -t CONFIG.yaml show --json)")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="PATH", help="go on from the newest complete checkpoint, or from PATH"
    )
    given = parser.parse_args(words)
    try:
        config = files.read_document(given.config)
    except FileNotFoundError:
        raise UsageError(f"there is no file {given.config}") from None
    section = section_of(config)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what it needs is on this disk, or it is an error
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads took 40 % more CPU time on a busy host
    try:
        from forgather_spool.training.lm.run import train
    except ImportError as error:
        raise Missing(f"the built-in trainer needs {error.name}", hint="pip install 'forgather-spool[train]'") from None
    return train(section, config, given.resume)


if __name__ == "__main__":
    sys.exit(reported(lambda: main(sys.argv[1:])))
