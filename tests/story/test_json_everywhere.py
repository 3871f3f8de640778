"""What a command prints as its result can be had as JSON, so that a script need not read sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from forgather_spool.cli.app import app
from forgather_spool.spool.queue import Spool
from tests import builders

# Output that is no result, or has a form of its own: bytes, pictures, scripts, Prometheus' text, a screen.
WITHOUT = {
    "job dump", "job tail", "metrics", "completion", "top", "dispatch", "init", "logs plot", "logs summary",
    "train", "units install", "units uninstall", "gpu kill", "dataset-server start",
    "sched group remove", "tls clean", "tls export-ca", "tls import-ca", "tls init", "tls install", "tls renew",
}  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    monkeypatch.setenv("FORGATHER_NO_WAKE", "1")
    return Spool().create()


def commands(command: click.Command = app, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        assert inner is not None
        yield from commands(inner, f"{path} {name}".strip())


def told(*words: str) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_command_has_json_or_a_reason(path: str, command: click.Command) -> None:
    assert any("--json" in option.opts for option in command.params) == (path not in WITHOUT)


def test_settings_are_told_as_they_are_then(spool: Spool) -> None:
    assert told("sched", "pause")["paused"] is True
    assert told("sched", "resume")["paused"] is False
    assert told("sched", "limit", "3")["no_gpu_limit"] == 3
    assert told("sched", "keep-cards", "10m")["reserve_after_s"] == 600
    assert told("gpu", "foreign", "ignore")["ignore_foreign_processes"] is True
    assert told("gpu", "disable", "7")["policy_for_unseen"]["7"]["disabled"] is True


def test_a_cancel_says_of_each_what_came_of_it(spool: Spool) -> None:
    waits, ended = builders.submitted(spool), builders.ended(spool)

    found = told("sched", "cancel", waits[1], ended[1])

    assert found["jobs"] == {waits[1]: "cancelled", ended[1]: "had_ended"}
    assert found["cancelled"] == 1


def test_a_kill_gives_the_jobs_as_they_are_then(spool: Spool) -> None:
    first, second = builders.submitted(spool), builders.submitted(spool)

    [killed] = told("job", "kill", first[1])
    [forced] = told("job", "force-kill", "--yes", second[1])

    assert (killed["job_id"], killed["outcome"]["kind"]) == (first[1], "cancelled")
    assert (forced["job_id"], forced["state"]) == (second[1], "done")
