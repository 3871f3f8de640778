"""Whatever umask a user has, nobody else reads or writes anything of theirs: every file of a busy home is looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgather_spool.spool import admit, batch, order, settings, unique
from forgather_spool.spool.stop import stop
from tests.story.world import World
from tests.waiting import wait_until


@pytest.fixture(params=[0o000, 0o077], ids=["umask_000", "umask_077"])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_every_path_that_is_made_is_its_owners_alone(any_umask: None, world: World) -> None:
    """Submitted, dropped, in a batch, with a key, held, edited, run again, stopped, lost, rejected, ended."""
    spool = world.spool
    script = {"argv": ["s"], "script": "#!/bin/sh\necho out\n", "output_limit_bytes": 4096}
    entries = [world.submit("exit 0"), world.submit("exit 1", retries=1, retry_delay_s=0)]
    spool.submit({"argv": ["seq", "100000"], "output_limit_bytes": 4096})
    spool.submit(script)
    batch.submit_one(spool, {"argv": ["true"], "array": {"indexes": "0-2"}})
    unique.submit(spool, {"argv": ["true"], "unique": "key"})
    order.hold(spool, [world.submit("exit 0")])
    settings.change_dispatch(spool.paths, no_gpu_limit=3)
    for name, text in (("good.json", '{"argv": ["true"]}'), ("bad.json", '{"argv": 1}')):
        path = Path(spool.paths.incoming, name)
        path.write_text(text)
        os.utime(path, (1, 1))
    endless = world.submit("echo up > up; exec sleep 600")

    dispatcher = world.dispatch()
    wait_until((world.folder / "up").exists)
    assert open_to_others(world) == []
    stop(spool, endless[1], "anna")
    dispatcher.wait(timeout=120)

    assert all(world.wait_done(entry) for entry in entries)
    assert list(admit.admit(spool)) == []
    assert open_to_others(world) == []


def open_to_others(world: World) -> list[str]:
    found = []
    for folder, _, names in os.walk(world.spool.paths.home):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            try:
                mode = stat.S_IMODE(os.lstat(path).st_mode)
            except FileNotFoundError:
                continue  # a temporary file of somebody at work
            if mode & 0o077:
                found.append(f"{path}: {mode:o}")
    return found
