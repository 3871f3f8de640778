"""`forgather control status`: the fast way, without click, for what a script asks each second.

Only the plain form comes here; options this module does not know go to click,
which knows them all and says what is wrong with the rest.
"""

from __future__ import annotations

import time

from forgather_spool.cli.show import shown
from forgather_spool.document import dump
from forgather_spool.spool.paths import Paths, default_home
from forgather_spool.trainer_control import get_job_status
from forgather_spool.trainers import find_trainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN_FACTS = ("job_id", "status", "timestamp", "global_step", "max_steps", "epoch")


def run(words: list[str]) -> int | None:
    """Handle ``JOB [--json]``; the exit code, or None for words that are click's business."""
    names = [word for word in words if word != "--json"]
    if len(names) != 1 or names[0].startswith("-"):
        return None
    print(text_of(names[0], json="--json" in words))
    return 0


def text_of(job: str, *, json: bool) -> str:
    """What is printed for a trainer, named as in `find_trainer`. Raises NoSuchJob, JobFailed."""
    status = get_job_status(find_trainer(Paths(default_home()), job))
    return dump(status).decode().rstrip() if json else "\n".join(lines_of(status))


def lines_of(status: dict[str, Any], now_unix_s: float | None = None) -> list[str]:
    """E.g. "my_experiment: training, 0.3 s ago", then a line for each fact that is known."""
    age = ""
    if status["timestamp"] is not None:
        from forgather_spool.cli.spans import span

        age = f", {span((now_unix_s or time.time()) - status['timestamp'])} ago"
    step, last = status["global_step"], status["max_steps"]
    facts = {"step": step if step is None or last is None else f"{step} of {last}", "epoch": status["epoch"]}
    facts.update((name, value) for name, value in status.items() if name not in OWN_FACTS)
    width = max(map(len, facts))
    lines = [f"{status['job_id']}: {status['status']}{age}"]
    lines += [f"  {shown(name):{width}}  {_number(value)}" for name, value in facts.items() if value is not None]
    return lines


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(str(value))
