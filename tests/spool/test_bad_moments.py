"""What cannot be looked at now is neither absent nor damaged: a bad moment costs time, never a job."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from forgather_spool.dispatcher.waitlist import Waitlist
from forgather_spool.errors import StorageFailed, UnreadableFile
from forgather_spool.runner.requests import StopRequests
from forgather_spool.spool import admit, files
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import Watch
from tests import file_system

BadMoment = Callable[..., AbstractContextManager[None]]
LOOKS = frozenset({"open", "lstat", "listdir"})


class RefusingOs:
    """`os`, whose `calls` fail with `number`."""

    def __init__(self, number: int, calls: frozenset[str]) -> None:
        self._number = number
        self._calls = calls

    def __getattr__(self, name):
        if name not in self._calls:
            return getattr(os, name)

        def refuse(path, *args, **kwargs):
            raise OSError(self._number, os.strerror(self._number), path)

        return refuse


@pytest.fixture(params=[errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENOMEM], ids=errno.errorcode.get)
def bad_moment(request) -> BadMoment:
    """``with bad_moment():`` no file can be looked at; or only these `calls` fail."""

    @contextmanager
    def moment(calls=LOOKS):
        file_system.work_on(RefusingOs(request.param, calls))
        try:
            yield
        finally:
            file_system.work_on(os)

    return moment


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "home")).create()


@pytest.mark.parametrize("calls", [LOOKS, frozenset({"open"})], ids=["nothing is seen", "nothing is opened"])
def test_a_job_whose_spec_cannot_be_read_now_goes_on_waiting(
    spool: Spool, bad_moment: BadMoment, calls: frozenset[str]
) -> None:
    entry = (0, spool.submit({"argv": ["true"]}))
    rejected, troubled = [], []
    waitlist = Waitlist(spool, lambda entry, _: rejected.append(entry), lambda entry, _: troubled.append(entry))
    waitlist.load()

    with bad_moment(calls):
        assert list(waitlist.candidates(skip=lambda _: False)) == []

    assert (rejected, troubled) == ([], [entry])
    assert [waiting.job_id for waiting in waitlist.candidates(skip=lambda _: False)] == [entry[1]]


def test_a_dropped_file_that_cannot_be_read_now_is_not_rejected(spool: Spool, bad_moment: BadMoment) -> None:
    dropped = Path(spool.paths.incoming, "mine.json")
    dropped.write_text('{"argv": ["true"]}')
    os.utime(dropped, (1, 1))

    with bad_moment(), pytest.raises(StorageFailed):
        list(admit.admit(spool))

    assert dropped.exists()
    assert len(list(admit.admit(spool))) == 1


def test_whether_a_job_has_started_or_ended_is_not_guessed(spool: Spool, bad_moment: BadMoment) -> None:
    """Taken for not started, it would run again."""
    with bad_moment():
        for ask in (spool.has_started, spool.has_result, spool.asked_to_stop_by):
            with pytest.raises(StorageFailed):
                ask("q_1738012412345_a1b2c3d4")
            with pytest.raises(StorageFailed):
                ask("q_1738012412345_a1b2c3d4", 1)


def test_a_runner_that_cannot_look_for_requests_goes_on_and_looks_again_soon(
    spool: Spool, bad_moment: BadMoment
) -> None:
    """Taken for a request, a process short of descriptors would stop its own job."""
    job_id = spool.submit({"argv": ["true"]})
    files.make_directory(spool.paths.job(job_id))
    requests = StopRequests(spool, job_id, 1, Watch())
    requests.listen()
    usual_s = requests.look_again_s

    with bad_moment():
        assert requests.look() == []

    assert requests.look_again_s < usual_s
    spool.ask_to_stop(job_id, by="anna")
    assert [request["by"] for _, request in requests.look()] == ["anna"]


def test_what_lies_there_for_good_is_still_told_apart(spool: Spool) -> None:
    """A link or a socket will not be a spec in a second either."""
    path = f"{spool.paths.incoming}/link.json"
    os.symlink("/dev/zero", path)

    with pytest.raises(UnreadableFile):
        files.read_bytes(path)
