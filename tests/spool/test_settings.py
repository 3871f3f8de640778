"""Settings: edited by several at once, kept when they are damaged."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from forgather_spool.errors import BadDocument, Busy, StorageFailed, UnreadableFile
from forgather_spool.gpu import CardPolicy, GpuPolicy
from forgather_spool.spool import settings
from forgather_spool.spool.paths import Paths
from forgather_spool.spool.queue import Spool

EDITS = 25


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Spool(str(tmp_path / "home")).create().paths


def disabling(card: str) -> Callable[[GpuPolicy], GpuPolicy]:
    return lambda policy: replace(policy, cards={**policy.cards, card: CardPolicy(disabled=True)})


def test_what_nobody_has_set_has_its_default(paths: Paths) -> None:
    """An absent file is no error, and looking does not make one."""
    assert settings.dispatch(paths) == {
        "version": 1, "paused": False, "paused_at": None, "no_gpu_limit": None, "notify": [], "notify_on": "end",
        "retention": None, "groups": {}, "reserve_after_s": 1800,
    }  # fmt: skip
    assert settings.gpu_policy(paths) == GpuPolicy()

    assert os.listdir(paths.server) == []


def test_a_change_is_there_for_the_next_to_look(paths: Paths) -> None:
    changed = settings.change_dispatch(paths, paused=True)

    assert changed["paused"] is True
    assert settings.dispatch(paths) == changed
    assert settings.change_dispatch(paths, no_gpu_limit=3)["paused"] is True


def test_only_the_owner_can_read_them(paths: Paths) -> None:
    """The lock beside them is nobody else's either: whoever can lock it can hold up the owner."""
    umask = os.umask(0)
    try:
        settings.change_gpu_policy(paths, disabling("0"))
    finally:
        os.umask(umask)

    modes = {name: os.stat(f"{paths.server}/{name}").st_mode & 0o777 for name in os.listdir(paths.server)}
    assert modes == {"gpu_policy.json": 0o600, "gpu_policy.json.lock": 0o600}


def test_keys_of_a_newer_version_survive_an_edit(paths: Paths) -> None:
    """Also those inside a card; a card taken out goes whole."""
    newer = {"gpus": {"0": {"disabled": True, "nickname": "left"}, "1": {"nickname": "right"}}, "owner": "ann"}
    Path(paths.gpu_policy).write_text(json.dumps(newer))
    Path(paths.dispatch).write_text('{"quiet_hours": [22, 6]}')

    settings.change_gpu_policy(paths, lambda policy: replace(policy, cards={"0": CardPolicy(min_priority=5)}))
    settings.change_dispatch(paths, paused=True)

    policy = json.loads(Path(paths.gpu_policy).read_text())
    assert policy["owner"] == "ann"
    assert policy["gpus"] == {"0": {"disabled": False, "min_priority": 5, "nickname": "left"}}
    assert json.loads(Path(paths.dispatch).read_text())["quiet_hours"] == [22, 6]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"gpus": []}', b'{"gpus": {"0": {"disabled": 1}}}', b'{"gpus": {"0": null}}', b"\xff"],
)
def test_a_damaged_policy_is_an_error_and_is_kept(paths: Paths, damage: bytes) -> None:
    """Taken for an empty one it would let jobs onto cards their owner has taken out."""
    Path(paths.gpu_policy).write_bytes(damage)

    with pytest.raises(BadDocument, match=r"gpu_policy\.json: \$"):
        settings.gpu_policy(paths)
    with pytest.raises(BadDocument, match=r"gpu_policy\.json: \$"):
        settings.change_gpu_policy(paths, disabling("1"))

    assert Path(paths.gpu_policy).read_bytes() == damage


@pytest.mark.parametrize("damage", [b"{", b'{"paused": "yes"}', b'{"version": 99}'])
def test_a_damaged_dispatch_file_is_an_error_and_is_kept(paths: Paths, damage: bytes) -> None:
    Path(paths.dispatch).write_bytes(damage)

    with pytest.raises(BadDocument, match=r"dispatch\.json: \$"):
        settings.dispatch(paths)
    with pytest.raises(BadDocument, match=r"dispatch\.json: \$"):
        settings.change_dispatch(paths, paused=False)

    assert Path(paths.dispatch).read_bytes() == damage


def test_what_is_no_file_is_an_error(paths: Paths) -> None:
    """A FIFO in its place would hang a plain open for ever."""
    os.mkfifo(paths.gpu_policy)

    with pytest.raises(UnreadableFile, match="not a regular file"):
        settings.gpu_policy(paths)


def test_a_value_that_cannot_stand_there_changes_nothing(paths: Paths) -> None:
    settings.change_dispatch(paths, no_gpu_limit=2)

    with pytest.raises(BadDocument, match=r"no_gpu_limit: 0 is less than 1"):
        settings.change_dispatch(paths, no_gpu_limit=0)

    assert settings.dispatch(paths)["no_gpu_limit"] == 2


def test_an_edit_that_fails_half_way_changes_nothing_and_lets_go_of_the_lock(paths: Paths) -> None:
    def burst(policy: GpuPolicy) -> GpuPolicy:
        raise RuntimeError("in the middle of it")

    with pytest.raises(RuntimeError):
        settings.change_gpu_policy(paths, burst)

    assert not os.path.exists(paths.gpu_policy)
    assert settings.change_gpu_policy(paths, disabling("0")).cards == {"0": CardPolicy(disabled=True)}


def test_editors_at_once_lose_nothing(paths: Paths) -> None:
    """Four programs, each setting cards of its own in the same file."""
    program = (
        "import sys; from dataclasses import replace; from forgather_spool.gpu import CardPolicy\n"
        "from forgather_spool.spool import settings; from forgather_spool.spool.paths import Paths\n"
        "home, who, count = sys.argv[1:]; sys.stdin.read(1)\n"
        "for i in range(int(count)):\n"
        "    settings.change_gpu_policy(Paths(home), lambda policy: replace(\n"
        "        policy, cards={**policy.cards, f'{who}{i}': CardPolicy(disabled=True)}))\n"
    )
    editors = [
        subprocess.Popen([sys.executable, "-c", program, paths.home, who, str(EDITS)], stdin=subprocess.PIPE)
        for who in "abcd"
    ]

    for editor in editors:
        assert editor.stdin is not None
        editor.stdin.close()
    assert [editor.wait(timeout=120) for editor in editors] == [0, 0, 0, 0]

    wanted = {f"{who}{i}" for who in "abcd" for i in range(EDITS)}
    assert settings.gpu_policy(paths).cards.keys() == wanted
    assert os.listdir(paths.tmp) == []


def test_an_editor_that_hangs_makes_the_next_one_give_up(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy, which says that trying again helps; the file is as it was."""
    from filelock import FileLock

    monkeypatch.setattr(settings, "LOCK_TIMEOUT_S", 0.01)

    with FileLock(f"{paths.dispatch}.lock"), pytest.raises(Busy, match="being edited"):
        settings.change_dispatch(paths, paused=True)

    assert settings.dispatch(paths)["paused"] is False


def test_without_a_spool_an_edit_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot lock"):
        settings.change_dispatch(Paths(str(tmp_path / "nowhere")), paused=True)


def test_a_group_that_is_no_group_is_an_error_with_its_name(paths: Paths) -> None:
    Path(paths.dispatch).write_text('{"groups": {"eval": 3}}')

    with pytest.raises(BadDocument, match=r"groups\.eval: expected an object"):
        settings.dispatch(paths)


def test_an_edit_stands_though_its_lock_cannot_be_given_back(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    def refuse(lock: FileLock) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(FileLock, "release", refuse)

    settings.change_dispatch(paths, paused=True)

    assert settings.dispatch(paths)["paused"] is True
