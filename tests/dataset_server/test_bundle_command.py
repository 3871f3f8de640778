"""`forgather dataset-server bundle`: what it prints is a server's URL on another host."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import pytest

from forgather_spool.cli.dataset.server_asking import status
from forgather_spool.cli.dataset.server_bundle import bundle
from forgather_spool.dataset.address import parse_address
from forgather_spool.errors import Missing, UsageError
from forgather_spool.tls.store import default_store
from tests.dataset_server.serving import Served


def run(command: click.Command, *words: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(command, words)


@pytest.mark.parametrize("tls", [False, True])
def test_a_bundle_is_all_that_another_host_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    default_store().init(["localhost", "127.0.0.1"], authority_name="of a test", force=False)
    with Served(tmp_path, tls=tls) as server:
        url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
        made = run(bundle, "--server", url, "--host", "localhost")
        monkeypatch.delenv("FORGATHER_DATASET_SERVER_TOKEN", raising=False)
        asked = run(status, "--server", made.stdout.strip())
        uri = f"forgather-dataset://localhost:{server.port}/?token="

    assert made.stdout.startswith(uri), made.exception
    assert asked.stdout.startswith(f"server: {url.replace('127.0.0.1', 'localhost')}\n"), asked.exception
    assert "clients: 1 connected" in asked.stdout, "with the token"


def test_loopback_is_nobody_elses_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    with Served(tmp_path) as server:
        refused = run(bundle, "--server", f"http://127.0.0.1:{server.port}")
        meant = run(bundle, "--server", f"http://127.0.0.1:{server.port}", "--host", "127.0.0.1", "--json")

    assert isinstance(refused.exception, UsageError) and "--host NAME" in str(refused.exception.hint)
    assert parse_address(json.loads(meant.stdout)["bundle"]).token is not None


@pytest.mark.parametrize("host", ["", "a b", "a..b"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    with Served(tmp_path) as server:
        result = run(bundle, "--server", f"http://127.0.0.1:{server.port}", "--host", host)

    assert isinstance(result.exception, UsageError)
    assert "forgather-dataset:" not in result.stdout


def test_of_a_server_that_is_not_there_no_bundle_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    with Served(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}"
    gone = run(bundle, "--server", url, "--token", "abc", "--host", "data.lab")
    several = run(bundle, "--server", f"{url},http://[::1]:1", "--host", "data.lab")

    assert isinstance(gone.exception, Missing)
    assert isinstance(several.exception, UsageError)
