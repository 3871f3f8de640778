"""`forgather metrics`: what a Prometheus reads, by the parser Prometheus' own client has."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forgather_spool.cli.machine.metrics import gauges, metrics
from forgather_spool.cli.machine.prometheus import Gauge, Sample, as_text
from forgather_spool.errors import StorageFailed, UsageError
from forgather_spool.spool import settings
from forgather_spool.spool.names import submitted_unix_s
from forgather_spool.spool.queue import Spool
from tests import builders
from tests.fakes.nvml import FakeCards

parser = pytest.importorskip("prometheus_client.parser")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST", builders.HOST)
    return Spool().create()


def scraped(text: str) -> dict[tuple[str, ...], float]:
    """Metric name and label values to value, as a scrape reads them."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def said(*words: str) -> dict[tuple[str, ...], float]:
    result = CliRunner().invoke(metrics, list(words))
    assert result.exit_code == 0, (result.output, result.exception)
    return scraped(result.stdout)


def test_an_empty_home_has_all_its_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a rule over them has no gaps; and looking makes nothing."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "none"))

    found = said()

    assert found["forgather_jobs", "waiting"] == found["forgather_ended_last_hour_jobs", "failed"] == 0
    assert not any(name == "forgather_oldest_waiting_seconds" for name, *_ in found)
    assert not (tmp_path / "none").exists()


def test_jobs_are_counted_where_they_are(spool: Spool) -> None:
    for _ in range(3):
        builders.submitted(spool)
    builders.running(spool)
    for outcome in (
        {"kind": "exited", "exit_code": 0},
        {"kind": "exited", "exit_code": 2},
        {"kind": "lost", "reason": "x"},
    ):
        builders.ended(spool, outcome=outcome)
    settings.change_dispatch(spool.paths, paused=True)

    found = said()

    assert [found["forgather_jobs", state] for state in ("waiting", "running", "ending")] == [3, 1, 0]
    assert [found["forgather_ended_last_hour_jobs", word] for word in ("succeeded", "failed", "lost")] == [1, 1, 1]
    assert found["forgather_ended_jobs",] == 3
    assert (found["forgather_dispatch_paused",], found["forgather_dispatcher_awake",]) == (1, 0)


def test_the_age_is_that_of_the_job_that_waits_longest(spool: Spool) -> None:
    first = builders.submitted(spool, priority=-5)
    builders.submitted(spool)
    now = submitted_unix_s(first[1]) + 90

    assert scraped(as_text(list(gauges(spool, now))))["forgather_oldest_waiting_seconds",] == 90


def test_what_ended_over_an_hour_ago_is_counted_and_not_read(spool: Spool) -> None:
    entry = builders.ended(spool)
    later = submitted_unix_s(entry[1]) + 3700

    found = scraped(as_text(list(gauges(spool, later))))

    assert (found["forgather_ended_jobs",], found["forgather_ended_last_hour_jobs", "succeeded"]) == (1, 0)


def test_damaged_settings_are_a_number_and_no_crash(spool: Spool) -> None:
    builders.damage(spool.paths.dispatch)

    found = said()

    assert found["forgather_dispatch_readable",] == 0
    assert ("forgather_dispatch_paused",) not in found


def test_cards_are_counted_by_what_a_job_would_find(spool: Spool, cards: FakeCards) -> None:
    for fields in ({}, {}, {}, {"memory_used_bytes": 3 << 30}):
        cards.add(**fields)
    builders.running(spool, cards=(0,))
    settings.change_gpu_policy(spool.paths, _disabling("1"))
    env = {**os.environ, **cards.env()}
    run = [sys.executable, str(Path(__file__).resolve().parents[2] / "bin" / "forgather"), "metrics"]
    found = scraped(subprocess.run(run, env=env, check=True, capture_output=True, text=True).stdout)

    assert [found["forgather_cards", state] for state in ("used", "disabled", "free")] == [1, 1, 2]
    assert found["forgather_card_memory_used_bytes", "3", cards.uuid(3)] == 3 << 30


def _disabling(card: str) -> Any:
    from dataclasses import replace

    from forgather_spool.gpu import CardPolicy

    return lambda policy: replace(policy, cards={card: CardPolicy(disabled=True)})


def test_a_file_for_node_exporter_is_replaced_whole_and_readable_to_it(spool: Spool, tmp_path: Path) -> None:
    """It runs as another user, and reads whatever ends in .prom at any moment."""
    target = tmp_path / "textfile" / "forgather.prom"
    target.parent.mkdir()
    target.write_text("old")

    assert CliRunner().invoke(metrics, ["--output", str(target)]).stdout == ""

    assert ("forgather_jobs", "waiting") in scraped(target.read_text())
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(target.parent) == ["forgather.prom"]


def test_only_a_plain_file_is_replaced(spool: Spool, tmp_path: Path) -> None:
    """As root, --output /dev/null made a file of the device, for every program on the machine."""
    device, plain = tmp_path / "device", tmp_path / "x.prom"
    os.mkfifo(device)
    (tmp_path / "to-device").symlink_to(device)
    (tmp_path / "to-plain").symlink_to(plain)

    for name in ("device", "to-device", "."):
        assert isinstance(CliRunner().invoke(metrics, ["--output", str(tmp_path / name)]).exception, UsageError)
    CliRunner().invoke(metrics, ["--output", str(tmp_path / "to-plain")])

    assert device.is_fifo() and (tmp_path / "to-device").is_symlink()
    assert plain.read_text() and (tmp_path / "to-plain").is_symlink()


def test_a_dash_is_stdout(spool: Spool) -> None:
    assert CliRunner().invoke(metrics, ["--output", "-"]).stdout.startswith("# HELP forgather_info")


def test_a_full_disk_leaves_the_old_file(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "forgather.prom"
    target.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    result = CliRunner().invoke(metrics, ["--output", str(target)])

    assert isinstance(result.exception, StorageFailed)
    assert target.read_text() == "old" and len(list(tmp_path.glob("*vm*"))) == 0


def test_labels_survive_what_names_may_hold() -> None:
    name = 'a"b\\c\nd'
    gauge = Gauge("x", "help\nof \\ two lines", [Sample(1.5, {"name": name}), Sample(2, {})])

    assert scraped(as_text([gauge])) == {("x", name): 1.5, ("x",): 2}
