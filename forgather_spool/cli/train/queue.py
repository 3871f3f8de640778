"""A training as a job: its spec, in the queue."""

from __future__ import annotations

import os
import sys
from typing import Any

from forgather_spool import schema
from forgather_spool.cli import quantities, warn
from forgather_spool.cli.nudge import nudge
from forgather_spool.cli.submit import environment
from forgather_spool.cli.submit.git_commit import git_commit
from forgather_spool.cli.submit.one import check_together, entered, refuse_too_many_gpus, snapshots_for
from forgather_spool.cli.submit.options import Given, fields
from forgather_spool.document import Document, dump
from forgather_spool.errors import BadDocument, ForgatherError, UsageError
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.submit import submit
from forgather_spool.training.config import Config, Script, Train
from forgather_spool.training.launch import check_libraries, planned, write_handover

GRACE_S = 60.0  # a training told to end saves first


def enqueue(config: Config, asked: dict[str, Any], *, resume: str | None, dry_run: bool) -> int:
    """Put it into the queue and say so, or with `dry_run` show the spec. `asked`: the options for jobs, by name.

    Raises:
        UsageError: an option that cannot be meant.
        Missing: the built-in trainer's libraries are not installed.
        StorageFailed, SpoolUnsafe: nothing was submitted.
    """
    if "snapshot" in asked["order"] and isinstance(config.program, Train):
        message = "--snapshot with the built-in trainer: it runs no code of yours, and its config is fixed by now"
        raise UsageError(message, hint="leave out --snapshot")
    spool = Spool()
    remarks: list[str] = []
    spec = _spec(config, asked, resume, spool, remarks)
    for remark in remarks:
        warn(remark)
    if dry_run:
        sys.stdout.write(dump(spec).decode())
        return 0
    check_libraries(config)
    if "snapshot" in asked["order"]:
        _add_snapshot(spec, config, spool, asked["order"])
    if isinstance(config.program, Train):
        write_handover(config)
    job_id = submit(spool.create(), spec)
    try:
        sys.stdout.write(f"{entered(job_id, spec)}\n")
        sys.stdout.flush()
    finally:
        nudge(spool)
    return 0


def _add_snapshot(spec: Document, config: Config, spool: Spool, given: Given) -> None:
    """A script of the project runs as it is now: by its absolute path it would be the file itself."""
    argv = spec["argv"]
    assert isinstance(argv, list)
    if isinstance(config.program, Script):
        path = config.program.path
        spec["argv"] = [os.path.relpath(path, config.project) if word == path else word for word in argv]
    snapshots_for(spool, given).add_to(spec)


def _spec(config: Config, asked: dict[str, Any], resume: str | None, spool: Spool, remarks: list[str]) -> Document:
    """The checked spec; what the user should know is added to `remarks`."""
    launch = planned(config, os.environ, resume=resume)
    gpus = asked["requested_gpus"]
    spec: Document = {
        "version": schema.VERSION,
        "argv": list(launch.argv),
        "cwd": launch.cwd,
        "env": _env(asked["env"], dict(launch.env), remarks),
        "name": asked["name"] or config.name,
        "gpus": _cards(config, launch.gpus, spool.paths, remarks) if gpus is None else gpus,
        "priority": asked["priority"] or 0,
        "tty": asked["tty"],
        "grace_s": GRACE_S,
        "type": "train",
        "job_params": {
            "project": config.project,
            "config": os.path.relpath(config.path, config.project),
            "dynamic_args": dict(config.values),
            "output_dir": config.output_dir,
        },
        **fields(asked["order"]),
    }
    check_together(spec, spool)
    limit = asked["time"] or config.time_limit
    if limit is not None:
        spec["time_limit_s"] = _duration_s(limit, "--time" if asked["time"] else "time_limit in the config")
    remarks += refuse_too_many_gpus(spec, spool.paths, "gpus in the config" if gpus is None else "--requested-gpus")
    commit = git_commit(launch.cwd)
    if commit is not None:
        spec["git_commit"] = commit
    try:
        schema.check(spec, schema.SPEC, unknown="refuse")
    except BadDocument as error:
        raise UsageError(f"{error.where.removeprefix('$.')}: {error.problem}", hint=error.hint) from None
    return spec


def _env(pairs: tuple[str, ...], own: dict[str, str], remarks: list[str]) -> dict[str, str]:
    """What is chosen from here, then the config's and ours, then --env: later ones win."""
    chosen, withheld = environment.chosen(os.environ)
    explicit = own | environment.asked(pairs, os.environ)
    remarks += environment.not_recorded([name for name in withheld if name not in explicit], os.environ)
    return chosen | explicit


def _duration_s(text: str, what: str) -> float:
    try:
        return quantities.time_limit_s(text)
    except UsageError as error:
        raise UsageError(f"{what}: {error}", hint=error.hint) from None


def _cards(config: Config, wanted: int, paths: Paths, remarks: list[str]) -> int:
    """`wanted`; none, where the config did not ask for cards by number and no known host has any."""
    if wanted == 0 or config.gpus is not None or _most_cards(paths) > 0:
        return wanted
    remarks.append("no host here has a card: it will train on the CPU (--requested-gpus N asks for cards all the same)")
    return 0


def _most_cards(paths: Paths) -> int:
    """How many cards the best host has: as dispatchers published it, and as this machine has it now."""
    from forgather_spool.host.nvml import read_gpus

    counts = [len(read_gpus(None).gpus)]
    for name in files.names(paths.hosts):
        try:
            cards = files.read_document(os.path.join(paths.hosts, name)).get("gpus") if name.endswith(".json") else []
        except (FileNotFoundError, ForgatherError):
            continue
        counts.append(len(cards) if isinstance(cards, list) else 0)
    return max(counts)
