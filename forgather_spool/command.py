"""Commands to a running trainer, and what may be answered: names and meanings, said once.

A command is a file in a job's control/ folder and gets exactly one
acknowledgement. To add one, add it to `COMMANDS` if the training loop already
has a flag for it, else give `TrainerControl.on` a handler; nothing else lists them.

Light on purpose: a training script imports this.
"""

from __future__ import annotations

from forgather_spool.errors import BadDocument
from forgather_spool.fields import Field
from forgather_spool.schema import VERSION

MAX_NAME_CHARACTERS = 64


class Meaning:
    """What a command makes the training loop do at the next step boundary.

    `saves`: "always", "never", or "strategy": unless the save strategy is "no".
    """

    __slots__ = ("evaluates", "help", "name", "saves", "stops")

    def __init__(
        self, name: str, help: str, *, saves: str = "never", stops: bool = False, evaluates: bool = False
    ) -> None:
        self.name = name
        self.help = help
        self.saves = saves
        self.stops = stops
        self.evaluates = evaluates


COMMANDS: dict[str, Meaning] = {
    meaning.name: meaning
    for meaning in (
        Meaning("status", "say where it is"),
        Meaning("save_checkpoint", "save a checkpoint now and go on", saves="always", evaluates=True),
        Meaning(
            "graceful_stop", 'finish this step, save unless the strategy is "no", end', saves="strategy", stops=True
        ),
        Meaning("save_and_stop", "save a checkpoint, then end", saves="always", stops=True),
        Meaning("abort", "end at once without saving", stops=True),
    )
}

_AT_HELP = "RFC 3339, UTC"

COMMAND: dict[str, Field] = {
    "version": Field("integer", VERSION, minimum=1, maximum=VERSION),
    "command": Field("string", maximum=MAX_NAME_CHARACTERS),
    "args": Field("object", {}, help="for the command's handler; every rank gets them"),
    "by": Field("string", "somebody", maximum=200),
    "posted_at": Field("string", help=_AT_HELP),
    "deadline_at": Field("string", None, help="later than this it is refused instead of carried out"),
}

ACKNOWLEDGEMENT: dict[str, Field] = {
    "version": Field("integer", VERSION, minimum=1, maximum=VERSION),
    "outcome": Field("string", choices=("done", "refused", "failed")),
    "step": Field("integer", None, help="the step boundary it was carried out at"),
    "checkpoint": Field("string", None, help="the checkpoint that was saved for it"),
    "reason": Field("string", None, help="refused, failed: why, in a sentence"),
    "answered_at": Field("string", help=_AT_HELP),
    "answered_by": Field("string", help="the trainer, or whoever found the trainer gone"),
    "data": Field("object", {}, help="what the command's handler returned; of `status`, the status"),
}

ENDPOINT: dict[str, Field] = {
    "version": Field("integer", VERSION, minimum=1, maximum=VERSION),
    "job_id": Field("string"),
    "host": Field("string", help="the address the endpoint is bound to"),
    "port": Field("integer", None, minimum=1, maximum=65535, help="null: files only"),
    "pid": Field("integer", minimum=1),
    "start_ticks": Field("integer", minimum=0, help="with pid and boot_id: which process, not only which number"),
    "boot_id": Field("string"),
    "hostname": Field("string"),
    "started_at": Field("string", help=_AT_HELP),
    "output_dir": Field("string", None),
    "logging_dir": Field("string", None),
}

STATUS: dict[str, Field] = {
    "version": Field("integer", VERSION, minimum=1, maximum=VERSION),
    "job_id": Field("string"),
    "status": Field("string", choices=("training", "stopping", "ended")),
    "global_step": Field("integer", None),
    "max_steps": Field("integer", None),
    "epoch": Field("number", None),
    "metrics": Field("object", {}, help="the latest logged: loss, learning_rate, ..."),
    "updated_at": Field("string", help=_AT_HELP),
}


def flat_status(status: dict[str, object]) -> dict[str, object]:
    """`STATUS` as the predecessor's clients read it: metrics beside the rest, `timestamp` in Unix seconds.

    A metric cannot take the place of one of the run's own facts. Raises BadDocument for a time that is none.
    """
    from datetime import datetime

    metrics, updated_at = status["metrics"], str(status["updated_at"])
    try:
        timestamp = datetime.fromisoformat(updated_at).timestamp()
    except (ValueError, OverflowError):
        raise BadDocument("status.json: $.updated_at", f"{updated_at!r} is not an RFC 3339 time") from None
    return {
        **(metrics if isinstance(metrics, dict) else {}),
        "job_id": status["job_id"],
        "status": status["status"],
        "timestamp": timestamp,
        "global_step": status["global_step"],
        "epoch": status["epoch"],
        "max_steps": status["max_steps"],
    }
