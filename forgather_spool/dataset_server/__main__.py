"""``python -m forgather_spool.dataset_server``: what a job and the systemd unit run, with the words of `start`."""

from __future__ import annotations

import sys

from forgather_spool.cli import entry

if __name__ == "__main__":
    sys.exit(entry.main(["dataset-server", "start", *sys.argv[1:]]))
