"""`forgather gpu`: looking at cards, saying who may use them, clearing a wedged one.

The program is a real one with the real pynvml, on cards that are not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import pytest

from forgather_spool.cli.gpu.command import PRIORITY
from forgather_spool.host import gpu_kill, proc
from forgather_spool.spool import settings
from forgather_spool.spool.names import short_id
from forgather_spool.spool.queue import Spool, utc_now
from tests import builders
from tests.fakes.nvml import GIB, FakeCards, build

ROOT = Path(gpu_kill.__file__).parents[2]
PROGRAM = """
import sys
from forgather_spool.cli import reported
from forgather_spool.cli.gpu.command import gpu
sys.exit(reported(lambda: gpu(sys.argv[1:], standalone_mode=False) or 0))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def cards(library: Path, tmp_path: Path) -> FakeCards:
    return FakeCards(tmp_path / "cards", library)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


class Gpu:
    """The program; `last` is its latest run."""

    def __init__(self, spool: Spool, cards: FakeCards | None) -> None:
        self.environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "FORGATHER_HOME": spool.paths.home}
        self.environ |= cards.env() if cards else {}

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, *words]
        return subprocess.run(command, env=self.environ | environ, capture_output=True, text=True, timeout=60)

    def says(self, *words: str, **environ: str) -> str:
        """Its stdout; it must succeed and say nothing on stderr."""
        done = self.run(*words, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def status(self, **environ: str) -> Any:
        return json.loads(self.says("status", "--json", **environ))

    def refuses(self, exit_code: int, *words: str) -> str:
        """Its stderr; it must fail so."""
        done = self.run(*words)
        assert done.returncode == exit_code, done
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def gpu(spool: Spool, cards: FakeCards) -> Gpu:
    return Gpu(spool, cards)


@pytest.fixture
def victims(tmp_path: Path) -> Iterator[Any]:
    """Processes to be killed. Each has something open that looks like a card, as whatever computes on one has."""
    with ExitStack() as stack:

        def start(device: str = "nvidia0", **environ: str) -> subprocess.Popen[bytes]:
            opened = stack.enter_context((tmp_path / device).open("wb"))
            process = subprocess.Popen(["sleep", "600"], stdout=opened, env={**os.environ, **environ})
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def publish(spool: Spool, *gpus: dict[str, Any]) -> None:
    """As this host's dispatcher does."""
    document = {
        "version": 1,
        "host": proc.host_name(),
        "kind": "process",
        "boot_id": proc.boot_id(),
        "gpus": list(gpus),
        "last_seen_at": utc_now(),
        "dispatcher_pid": None,
    }
    builders.spool_file(spool.paths.host(proc.host_name()), document)


def test_the_table_shows_every_card_and_who_is_on_it(gpu: Gpu, cards: FakeCards, spool: Spool, victims: Any) -> None:
    """A job's own processes are not foreign; a desktop is on the card and takes it from nobody."""
    cards.add(name="RTX 4090", memory_total_bytes=24 * GIB, memory_used_bytes=3 * GIB // 2, utilization_percent=87)
    cards.add(name="RTX 4090", memory_total_bytes=24 * GIB)
    cards.add(name="RTX 4090", memory_total_bytes=24 * GIB)
    _, job_id = builders.running(spool, host=proc.host_name(), cards=(0,))
    ours = victims(FORGATHER_SCOPE=f"forgather-job-{job_id}-1.scope")
    stranger = victims()
    cards.process(0, ours.pid)
    cards.process(1, stranger.pid)
    cards.process(2, stranger.pid, kind="graphics")
    gpu.says("disable", "1")

    heading, *rows = gpu.says("status").splitlines()

    assert " ".join(heading.split()) == "Idx Name Util% Mem (GB) Temp Power Fan% Disabled MinPri PIDs Held by"
    assert rows[0].split() == ["0", "RTX", "4090", "87", "1.5/24.0", "30", "76W", "20", "-", "any", "1", job_id]
    assert rows[1].split()[8:11] == ["yes", "any", "1"]
    assert f"foreign {stranger.pid} sleep of " in rows[1]
    assert rows[2].split()[8:] == ["-", "any", "0", "-"]

    first, second, third = gpu.status()["gpus"]
    assert (first["job_id"], second["job_id"]) == (job_id, None)
    assert (first["processes"][0]["job_id"], first["processes"][0]["foreign"]) == (job_id, False)
    assert (second["disabled"], second["processes"][0]["foreign"]) == (True, True)
    assert (third["processes"][0]["kind"], third["processes"][0]["foreign"]) == ("graphics", False)


def test_at_80_columns_a_card_is_one_line(gpu: Gpu, cards: FakeCards, spool: Spool) -> None:
    """Ids are short there, and what says nothing is left out; what a user set is not."""
    for _ in range(8):
        size = 140 * GIB
        cards.add(name="NVIDIA GeForce RTX 4090", memory_total_bytes=size, memory_used_bytes=size - GIB)
    _, job_id = builders.running(spool, host=proc.host_name(), cards=(0, 1))
    gpu.says("disable", "3")

    heading, *rows = gpu.says("status", COLUMNS="80").splitlines()

    assert len(rows) == 8 and all(len(row) <= 80 for row in rows)
    assert "Held by" in heading and "Disabled" in heading and "Fan%" not in heading
    assert rows[0].split()[1] == "GeForce" and rows[0].endswith(short_id(job_id))
    assert "yes" in rows[3].split()


def test_what_nvml_does_not_say_is_a_dash(gpu: Gpu, cards: FakeCards) -> None:
    """Null for programs: neither a zero nor a crash."""
    fields = ("uuid", "name", "memory_total_bytes", "utilization_percent", "temperature_c", "power_mw", "fan_percent")
    cards.add(**dict.fromkeys(fields))

    row = gpu.says("status").splitlines()[1]

    assert row.split() == ["0", "-", "-", "-/-", "-", "-", "-", "-", "any", "0", "-"]
    card = gpu.status()["gpus"][0]
    assert [card[name] for name in ("uuid", "name", "memory_free_bytes", "power_w")] == [None] * 4


def test_a_lost_card_is_named_and_the_others_are_shown(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()
    cards.add()
    cards.lose(0)

    rows = gpu.says("status").splitlines()[1:]

    assert "cannot be used: fell off the bus" in rows[0]
    assert "Fake H200" in rows[1]


def test_excluded_is_what_the_dispatcher_hides(gpu: Gpu, cards: FakeCards, spool: Spool) -> None:
    """The dispatcher's environment counts, not that of whoever looks."""
    cards.add()
    cards.add()
    publish(spool, *({"index": i, "uuid": cards.uuid(i), "excluded": i == 1} for i in range(2)))

    rows = gpu.says("status", CUDA_VISIBLE_DEVICES="1").splitlines()[1:]

    assert ["(excluded)" in row for row in rows] == [False, True]


def test_before_a_dispatcher_ever_looked_the_callers_environment_counts(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()
    cards.add()

    assert [card["excluded"] for card in gpu.status(CUDA_VISIBLE_DEVICES="0")["gpus"]] == [False, True]


def test_a_host_without_cards_says_why(spool: Spool, gpu: Gpu, cards: FakeCards) -> None:
    """Not an error: jobs without a card run there."""
    cards.fail_init(9)

    assert gpu.says("status") == "no GPUs on this host: the NVIDIA driver is not loaded\n"
    status = gpu.status()
    assert (status["gpus"], status["problem"]) == ([], "the NVIDIA driver is not loaded")


def test_a_damaged_policy_is_told_and_not_taken_for_an_empty_one(gpu: Gpu, cards: FakeCards, spool: Spool) -> None:
    cards.add()
    Path(spool.paths.gpu_policy).write_text("{")

    for words in (("status",), ("disable", "0"), ("foreign", "ignore")):
        assert "gpu_policy.json: $: not JSON" in gpu.refuses(65, *words)

    assert Path(spool.paths.gpu_policy).read_text() == "{"


def test_a_card_is_disabled_enabled_and_kept_for_the_important(gpu: Gpu, cards: FakeCards) -> None:
    """Each says what holds now, and what one sets the other leaves."""
    cards.add()
    cards.add()

    assert gpu.says("disable", "0", "1") == (
        "gpu 0: disabled=True min_priority=any\ngpu 1: disabled=True min_priority=any\n"
    )
    assert gpu.says("priority", "0", "10") == "gpu 0: disabled=True min_priority=10\n"
    assert gpu.says("enable", "0") == "gpu 0: disabled=False min_priority=10\n"
    assert gpu.says("priority", "0", "-5") == "gpu 0: disabled=False min_priority=-5\n"

    assert [(card["disabled"], card["min_priority"]) for card in gpu.status()["gpus"]] == [(False, -5), (True, None)]


def test_a_card_may_be_named_by_its_uuid_or_the_beginning_of_it(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()
    cards.add()

    gpu.says("disable", cards.uuid(0))
    gpu.says("disable", "GPU-00000001")

    assert [card["disabled"] for card in gpu.status()["gpus"]] == [True, True]
    assert "2 cards begin with GPU-0000000" in gpu.refuses(2, "disable", "GPU-0000000")
    assert "no card of this host" in gpu.refuses(2, "disable", "GPU-7")
    assert "neither an index nor a UUID" in gpu.refuses(2, "disable", "left")


def test_an_index_means_the_entry_that_counts(gpu: Gpu, cards: FakeCards) -> None:
    """The UUID wins where both stand, so enabling by index must not leave the card disabled by UUID."""
    cards.add()
    gpu.says("priority", "0", "3")

    assert gpu.says("disable", "--by-uuid", "0") == f"gpu {cards.uuid(0)}: disabled=True min_priority=3\n"
    assert gpu.says("enable", "0") == f"gpu {cards.uuid(0)}: disabled=False min_priority=3\n"

    assert gpu.status()["gpus"][0]["disabled"] is False


def test_what_is_no_priority_of_a_card_is_refused_in_words() -> None:
    with pytest.raises(click.BadParameter, match="'high' is neither -1000000 to 1000000 nor the word any"):
        PRIORITY.convert("high", None, None)


def test_a_card_that_is_not_here_may_be_set_with_a_warning(gpu: Gpu, cards: FakeCards) -> None:
    """It may be pulled for now, or another host's."""
    cards.add()

    done = gpu.run("disable", "7")

    assert (done.returncode, done.stdout) == (0, "gpu 7: disabled=True min_priority=any\n")
    assert "warning: this host has no gpu 7" in done.stderr
    assert "gpu 7: not on this host; disabled=True" in gpu.says("status")
    assert gpu.status()["policy_for_unseen"] == {"7": {"disabled": True, "min_priority": None}}
    assert "UUID of gpu 7 is not known" in gpu.refuses(2, "disable", "--by-uuid", "7")


def test_foreign_processes_can_be_ignored(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()

    assert "ignored" in gpu.says("foreign", "ignore")
    assert gpu.status()["ignore_foreign_processes"] is True
    assert "respected" in gpu.says("foreign", "respect")
    assert gpu.status()["ignore_foreign_processes"] is False


def test_kill_says_whom_it_would_kill_and_does_nothing_without_yes(gpu: Gpu, cards: FakeCards, victims: Any) -> None:
    cards.add()
    victim = victims()
    cards.process(0, victim.pid)

    told = gpu.refuses(2, "kill", "0")

    assert f"this would kill, on gpu 0: {victim.pid} sleep of " in told
    assert "fix: forgather gpu kill --yes 0" in told
    assert victim.poll() is None


def test_kill_ends_ours_and_others_on_that_card_and_nobody_elsewhere(
    gpu: Gpu, cards: FakeCards, spool: Spool, victims: Any
) -> None:
    """Those of a job are named by it; what only draws stays."""
    cards.add()
    cards.add()
    _, job_id = builders.running(spool, host=proc.host_name(), cards=(0,))
    ours, other = victims(FORGATHER_SCOPE=f"forgather-job-{job_id}-1.scope"), victims()
    desktop, elsewhere = victims(), victims()
    cards.process(0, ours.pid)
    cards.process(0, other.pid)
    cards.process(0, desktop.pid, kind="graphics")
    cards.process(1, elsewhere.pid)

    told = gpu.says("kill", "--yes", "0")

    assert (ours.wait(timeout=30), other.wait(timeout=30)) == (-9, -9)
    assert (desktop.poll(), elsewhere.poll()) == (None, None)
    assert f"killed {ours.pid} sleep of " in told and f"(job {job_id})" in told
    assert f"killed {other.pid} sleep of " in told


def test_kill_spares_itself_and_what_it_was_started_by(gpu: Gpu, cards: FakeCards, victims: Any) -> None:
    """A shell inside a job may call it; and pid 1 is the machine."""
    cards.add()
    victim = victims()
    for pid in (1, os.getpid(), victim.pid):
        cards.process(0, pid)

    told = gpu.refuses(1, "kill", "--yes", "0")

    assert victim.wait(timeout=30) == -9
    assert f"not killed: {os.getpid()} " in told
    assert "not killed: 1 " in told
    assert "2 of 3 processes are still there" in told


def test_in_a_container_a_process_without_a_card_open_is_not_believed(victims: Any, monkeypatch: Any) -> None:
    """NVML may count pids as the host does: here they are somebody else's."""
    innocent = victims(device="notes.txt")
    monkeypatch.setattr(gpu_kill, "_MACHINE_PID_NAMESPACE", "pid:[another]")

    failed = gpu_kill.kill(gpu_kill.targets_of([innocent.pid]))

    assert "no NVIDIA device open" in failed[innocent.pid]
    assert innocent.poll() is None


def test_a_pid_given_out_again_is_not_killed(victims: Any) -> None:
    bystander = victims()
    long_gone = gpu_kill.Target(bystander.pid, 1, None)

    assert gpu_kill.kill([long_gone]) == {}

    assert bystander.poll() is None


def test_a_process_nobody_here_can_see_is_named(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()
    cards.process(0, 4_000_000)

    assert "4000000: cannot be seen from here" in gpu.refuses(1, "kill", "--yes", "0")


def test_kill_on_an_idle_a_missing_and_a_lost_card(gpu: Gpu, cards: FakeCards) -> None:
    cards.add()
    cards.add()
    cards.lose(1)

    assert gpu.says("kill", "--yes", "0") == "gpu 0: nothing computes on it\n"
    assert "no gpu 5 on this host" in gpu.refuses(2, "kill", "--yes", "5")
    assert "gpu 1 fell off the bus" in gpu.refuses(69, "kill", "--yes", "1")


def test_how_much_a_foreign_process_may_use_is_the_owners_choice(gpu: Gpu, cards: FakeCards, spool: Spool) -> None:
    cards.add()
    gpu.says("foreign", "respect", "--from", "1G")

    assert settings.gpu_policy(spool.paths).foreign_memory_bytes == 1 << 30
    gpu.says("priority", "0", "5")
    assert gpu.says("priority", "0", "any").endswith("min_priority=any\n")
