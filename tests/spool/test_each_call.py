"""Each step over the spool, refused by the kernel at each of its calls, or dead before it: nothing is lost."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgather_spool.errors import ForgatherError
from forgather_spool.spool import admit, archive, batch, files, imported, notices, order, preempt, settings, unique
from forgather_spool.spool import submit as into_queue
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.names import parse_entry
from forgather_spool.spool.place import locate
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.remove import remove, sweep_removed
from forgather_spool.spool.stop import stop
from tests import builders
from tests.spool.crashing import dies_after, refused_after

KEY = {"argv": ["true"], "unique": "nightly"}
ARRAY = {"argv": ["true"], "array": {"indexes": "0-2"}}
Prepare = Callable[[Spool], Callable[[], object]]  # what stands before, and the step


def submit(spec: dict[str, object]) -> Prepare:
    return lambda spool: lambda: into_queue.submit(spool, spec)


def submit_together(spool: Spool) -> Callable[[], object]:
    def step() -> None:
        with batch.Batch(spool) as gathered:
            for spec in ({"argv": ["true"]}, ARRAY):
                gathered.add(spec)
            gathered.commit()

    return step


def admit_dropped(spec: dict[str, object]) -> Prepare:
    def prepare(spool: Spool) -> Callable[[], object]:
        Path(spool.paths.incoming, "mine.json").write_text(json.dumps(spec))
        os.utime(Path(spool.paths.incoming, "mine.json"), (1, 1))
        return lambda: list(admit.admit(spool))

    return prepare


def spread(spool: Spool) -> Callable[[], object]:
    submit_together(spool)()
    return lambda: batch.spread(spool)


def hold(spool: Spool) -> Callable[[], object]:
    entry = builders.submitted(spool)
    return lambda: order.hold(spool, [entry])


def release(spool: Spool) -> Callable[[], object]:
    entry = builders.held(spool)
    return lambda: order.release(spool, [entry])


def reprioritize(spool: Spool) -> Callable[[], object]:
    job_id = builders.submitted(spool)[1]
    return lambda: order.reprioritize(spool, locate(spool, job_id), 5)


def edit(spool: Spool) -> Callable[[], object]:
    job_id = builders.held(spool)[1]
    place = locate(spool, job_id)
    old = Path(place.path).read_bytes()
    return lambda: order.replace_spec(spool, place, old, {"version": 1, "argv": ["false"]})


def cancel(make: Callable[[Spool], tuple[int, str]]) -> Prepare:
    def prepare(spool: Spool) -> Callable[[], object]:
        job_id = make(spool)[1]
        return lambda: stop(spool, job_id, "anna")

    return prepare


def live(spool: Spool) -> Callable[[], object]:
    """From a claim to done/."""
    entry = builders.submitted(spool)

    def step() -> None:
        spool.claim(entry, builders.HOST)
        spool.write_claim(entry[1], builders.a_claim(entry).as_document())
        spool.start(entry[1])
        spool.write_result(entry[1], builders.a_result())
        spool.finish(entry, builders.HOST, utc_now())

    return step


def launch_again(spool: Spool) -> Callable[[], object]:
    entry = builders.claimed(spool)

    def step() -> None:
        spool.withdraw_claim(entry[1])
        spool.put_back(entry, builders.HOST)

    return step


def give_way(spool: Spool) -> Callable[[], object]:
    job_id = builders.running(spool, preemptible=True)[1]

    def step() -> None:
        preempt.want(spool.paths, job_id, 1, "q_1738012412345_a1b2c3d4")
        preempt.tell_to_end(spool.paths, job_id, 1, by="preemption")
        preempt.forget(spool.paths, job_id, 1)

    return step


def run_again(spool: Spool) -> Callable[[], object]:
    entry = builders.running(spool, retries=1)
    return lambda: builders.run_again(spool, entry)


def clean_up(spool: Spool) -> Callable[[], object]:
    builders.ended(spool, output=b"x")

    def step() -> None:
        for place in ended_places(spool):
            remove(spool, place)
        sweep_removed(spool)

    return step


def take_in(spool: Spool) -> Callable[[], object]:
    other = Spool(f"{spool.paths.home}-other").create()
    builders.ended(other, output=b"x")
    out = io.BytesIO()
    archive.write_archive(other, ended_places(other), out, logs=True)
    return lambda: imported.read_archive(spool, io.BytesIO(out.getvalue()))


def give_out(spool: Spool) -> Callable[[], object]:
    builders.ended(spool, output=b"x")
    return lambda: archive.write_archive(spool, ended_places(spool), io.BytesIO(), logs=True)


def change_settings(spool: Spool) -> Callable[[], object]:
    settings.change_dispatch(spool.paths, paused=True)

    def step() -> None:
        settings.change_dispatch(spool.paths, no_gpu_limit=3)
        settings.change_gpu_policy(spool.paths, lambda policy: policy)

    return step


def tell(spool: Spool) -> Callable[[], object]:
    entry = builders.running(spool, notify=["desktop"])
    files.make_directory(spool.paths.notices)
    path = spool.paths.taken(builders.HOST, entry[1], 0)

    def step() -> None:
        notices.owe(spool.paths, path, entry[1], builders.HOST)
        for notice in notices.pending(spool.paths, builders.HOST):
            notices.note_told(spool.paths, notice[0], 0, {"version": 1, "at": utc_now()})
            assert notices.told(spool.paths, notice[0])
            notices.settle(spool.paths, notice)

    return step


def command(spool: Spool) -> Callable[[], object]:
    mailbox = Mailbox(spool.paths, builders.running(spool)[1], 1)

    def step() -> None:
        mailbox.create()
        command_id = mailbox.post("status", by="anna")
        assert mailbox.pending() == [command_id]
        mailbox.acknowledge(mailbox.pending()[0], outcome="done", by="trainer", step=1)

    return step


def begin(spool: Spool) -> Callable[[], object]:
    """What a dispatcher does first, with a dropped file whose key was not asked for yet."""
    admit_dropped(KEY)(spool)
    ended = builders.ended(spool, unique="other")
    assert ended

    def step() -> None:
        Spool(spool.paths.home).create().open_host(builders.HOST)
        admit.sweep_tmp(spool)
        unique.go_on(spool)
        unique.forget_ended(spool)
        batch.promote_decided(spool)

    return step


STEPS: dict[str, Prepare] = {
    "submit": submit({"argv": ["true"]}), "submit with a key": submit(KEY), "submit many": submit_together,
    "admit": admit_dropped({"argv": ["true"]}), "admit with a key": admit_dropped(KEY),
    "admit an array": admit_dropped(ARRAY), "reject": admit_dropped({"argv": 3}), "spread": spread, "hold": hold,
    "release": release, "reprioritize": reprioritize, "edit": edit, "cancel": cancel(builders.submitted),
    "cancel on hold": cancel(builders.held), "stop": cancel(builders.running), "live": live,
    "launch again": launch_again, "give way": give_way, "run again": run_again, "clean up": clean_up,
    "import": take_in, "export": give_out, "settings": change_settings, "tell": tell, "command": command,
    "begin": begin,
}  # fmt: skip


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", STEPS)
def test_what_the_kernel_refuses_is_said_in_one_line_and_loses_nothing(name: str, number: int, tmp_path: Path) -> None:
    """The calls are made by our modules, so that each arm is taken; that the programs tell it, `tests/sweep` shows."""
    for calls in range(10_000):
        spool, step, before = a_spool_for(name, tmp_path / f"{calls}")

        with refused_after(calls, number) as refusing:
            try:
                step()
            except ForgatherError as error:
                assert "\n" not in str(error)
        if not refusing.refused:
            break

        check(spool, name, before, f"{refusing.refused}, the call after {calls}")
    assert calls > 3


@pytest.mark.parametrize("name", STEPS)
def test_a_death_before_any_change_loses_nothing(name: str, tmp_path: Path) -> None:
    """The same steps, by a program that does not live to tell."""
    for calls in range(10_000):
        spool, step, before = a_spool_for(name, tmp_path / f"{calls}")
        lived = False

        with dies_after(calls):
            step()
            lived = True
        if lived:
            break

        check(spool, name, before, f"dead after {calls} changes")
    assert calls > 1 or name == "export"


def a_spool_for(name: str, folder: Path) -> tuple[Spool, Callable[[], object], set[str]]:
    """The spool, the step to be taken in it, and the jobs there before."""
    spool = Spool(str(folder)).create()
    spool.open_host(builders.HOST)
    step = STEPS[name](spool)
    return spool, step, set(places(spool))


def check(spool: Spool, name: str, before: set[str], where: str) -> None:
    """Nothing is lost or there twice once an undisturbed program has gone on from there."""
    recover(spool)
    now = list(places(spool))
    assert len(now) == len(set(now)), f"{where}: a job twice: {now}"
    if name.startswith(("admit", "reject", "begin")):
        assert now or files.names(spool.paths.rejected), f"{where}: what was dropped is nowhere"
    if name != "clean up":
        assert before <= set(now), f"{where}: {before - set(now)} lost"


def recover(spool: Spool) -> None:
    """What the next dispatcher does, undisturbed."""
    Spool(spool.paths.home).create()
    list(admit.admit(spool))
    unique.go_on(spool)
    batch.promote_decided(spool)
    batch.spread(spool)


def places(spool: Spool) -> Iterator[str]:
    """The id of each job, as often as it lies somewhere; each of its specs is whole."""
    root = Path(spool.paths.spool)
    for path in [*root.glob("queue/*"), *root.glob("held/*"), *root.glob("running/*/*"), *root.glob("done/*/*")]:
        entry = parse_entry(path.name)
        job_id = entry[1] if entry else path.stem
        assert json.loads(path.read_bytes())["argv"]
        assert locate(spool, job_id) is not None
        yield job_id
