"""Many jobs at once: all of them or none, whoever dies when, and nobody twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from forgather_spool.cli.sched.listing import Wanted, take_listing
from forgather_spool.errors import BadDocument, StorageFailed
from forgather_spool.job import State
from forgather_spool.spool import admit, batch, files
from forgather_spool.spool.look import look
from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.queue import Spool
from tests import file_system
from tests.spool.crashing import dies_after

LONG_AGO = (1_000_000_000, 1_000_000_000)
DEAD_WRITER = f"{os.uname().nodename.partition('.')[0]}.4194304"  # a pid above the kernel's largest
SPECS = [{"argv": ["true"], "name": "a"}, {"argv": ["true"], "priority": 5}, {"argv": ["true"], "hold": True}]


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "home")).create()


@pytest.fixture(autouse=True)
def writers_are_found_dead(monkeypatch):
    """Whoever left something in tmp/ lives no more: the next dispatcher sweeps it."""
    file_system.patch(monkeypatch, "temporary_name", lambda: f"{DEAD_WRITER}.{os.urandom(6).hex()}")


def gathered(spool, *specs):
    found = batch.Batch(spool)
    for spec in specs:
        found.add(spec)
    return found


def dropped_array(spool, indexes="0-2", **more):
    path = Path(spool.paths.incoming, "array.json")
    path.write_text(json.dumps({"argv": ["true"], "array": {"indexes": indexes}, **more}))
    os.utime(path, LONG_AGO)
    return str(path)


def a_dispatcher_comes(spool):
    """What each dispatcher does first, and then in every pass."""
    admit.sweep_tmp(spool)
    batch.promote_decided(spool)
    list(admit.admit(spool))
    batch.spread(spool)


def waiting(spool):
    """Ids in queue/ and held/, in start order each."""
    names = [job_id for _, job_id in spool.waiting()]
    return names + [name.partition(".p")[0] for name in sorted(os.listdir(spool.paths.held))]


def left_over(spool):
    return [*os.listdir(spool.paths.tmp), *os.listdir(spool.paths.batches), *os.listdir(spool.paths.incoming)]


def test_a_batch_is_in_the_queue_in_the_order_it_was_added(spool):
    specs = [{"argv": ["echo", str(i)]} for i in range(30)]
    found = gathered(spool, *specs)

    found.commit()
    moved = batch.spread(spool)

    assert moved == 30
    assert [job_id for _, job_id in spool.waiting()] == found.job_ids
    assert [spool.queued_spec(entry)["argv"] for entry in spool.waiting()] == [spec["argv"] for spec in specs]
    assert left_over(spool) == []


def test_a_batch_that_is_not_committed_leaves_nothing(spool):
    found = gathered(spool, *SPECS)

    found.abandon()

    assert waiting(spool) == left_over(spool) == []


def test_priority_is_in_the_name_and_a_job_on_hold_is_in_held(spool):
    first, second, third = SPECS
    found = gathered(spool, first, second, third)

    found.commit()
    batch.spread(spool)

    plain, urgent, held = found.job_ids
    assert spool.waiting() == [(-5, urgent), (0, plain)]
    assert os.listdir(spool.paths.held) == [f"{held}.p0.json"]


def test_a_batch_as_large_as_needs_one_sync_is_durable_and_whole(spool, monkeypatch):
    synced = []
    file_system.patch(monkeypatch, "sync_file_system", synced.append)
    found = gathered(spool, *[{"argv": ["true"]}] * (batch.FEW + 1))

    found.commit()

    assert len(synced) == 1
    batch.spread(spool)
    assert len(waiting(spool)) == batch.FEW + 1


@pytest.mark.parametrize("specs", [SPECS, [{"argv": ["true"], "array": {"indexes": "0-2"}}]], ids=["batch", "array"])
def test_a_submitter_that_dies_anywhere_has_submitted_all_or_nothing(specs, tmp_path):
    """Killed before each of its changes in turn; then a dispatcher comes."""
    outcomes = Counter()
    for calls in range(1000):
        spool = Spool(str(tmp_path / str(calls))).create()
        told = []
        with dies_after(calls):
            found = gathered(spool, *specs)
            found.commit()
            told.append("acknowledged")
            batch.spread(spool)
            told.append("over")

        a_dispatcher_comes(spool)

        there = waiting(spool)
        assert len(there) == len(set(there)) == (3 if there or told else 0), (calls, told, there)
        assert left_over(spool) == []
        outcomes[len(there)] += 1
        if "over" in told:
            break

    assert outcomes[0] > 10 and outcomes[3] > 10


@pytest.mark.parametrize("indexes", ["0-2", "7"])
def test_a_dropped_array_becomes_its_members_once_wherever_its_dispatcher_dies(indexes, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "LINKS_PER_FILE", 2)
    expected = {"0-2": ["[0]", "[1]", "[2]"], "7": ["[7]"]}[indexes]
    for calls in range(1000):
        spool = Spool(str(tmp_path / str(calls))).create()
        dropped_array(spool, indexes)
        over = []
        with dies_after(calls):
            a_dispatcher_comes(spool)
            over.append(True)

        a_dispatcher_comes(spool)

        there = waiting(spool)
        assert [job_id[job_id.index("[") :] for job_id in there] == expected, calls
        assert len({job_id.partition("[")[0] for job_id in there}) == 1
        assert left_over(spool) == []
        if over:
            break

    assert calls > 15


def test_of_two_dispatchers_that_write_out_one_dropped_array_one_wins(spool):
    path = dropped_array(spool)
    spec = {"argv": ["true"], "array": {"indexes": "0-2"}}
    first, second = gathered(spool, spec), gathered(spool, spec)

    first.commit_dropped(path)
    with pytest.raises(FileNotFoundError):
        second.commit_dropped(path)
    second.abandon()
    batch.spread(spool)

    assert waiting(spool) == [f"{first.job_ids[0]}[{i}]" for i in range(3)]
    assert left_over(spool) == []


def test_a_decided_array_goes_on_while_its_writer_still_seems_to_live(spool, monkeypatch):
    """Of another host it cannot be told; the mark in the folder is enough."""
    file_system.patch(monkeypatch, "temporary_name", lambda: "elsewhere.1.abc")
    path = dropped_array(spool)
    found = gathered(spool, {"argv": ["true"], "array": {"indexes": "0-2"}})
    monkeypatch.setattr(batch, "promote", lambda spool, folder: True)  # it dies here
    found.commit_dropped(path)
    monkeypatch.undo()

    a_dispatcher_comes(spool)

    assert len(waiting(spool)) == 3


def test_two_that_move_a_batch_at_once_move_each_job_once(spool, monkeypatch):
    """The submitter and a dispatcher: whoever comes second finds the file moved, or the folder gone."""
    found = gathered(spool, *SPECS)
    found.commit()
    listed = batch._job_names
    seen = {}

    def stale(folder):
        """The slower one acts on what it saw before the other moved everything."""
        if folder not in seen:
            seen[folder] = listed(folder)
        return seen[folder]

    monkeypatch.setattr(batch, "_job_names", stale)
    batch.spread(spool)
    monkeypatch.undo()
    assert batch.spread(spool) == 0

    assert sorted(waiting(spool)) == sorted(found.job_ids)
    assert left_over(spool) == []


def test_a_bounded_look_moves_so_many_and_the_next_the_rest(spool):
    found = gathered(spool, *SPECS)
    found.commit()

    assert batch.spread(spool, 2) == 2
    assert admit.pending(spool)
    assert batch.spread(spool, 2) == 1
    assert not admit.pending(spool)


def test_what_is_no_batch_holds_no_batch_up(spool):
    """Names are looked at in order, and this one comes first."""
    (Path(spool.paths.batches) / "a-file").write_text("mine")
    found = gathered(spool, {"argv": ["true"]})
    found.commit()

    batch.spread(spool)

    assert waiting(spool) == found.job_ids
    assert os.listdir(spool.paths.batches) == ["a-file"]


def test_a_strange_file_in_a_batch_holds_nothing_up_and_is_kept(spool):
    found = gathered(spool, *SPECS)
    found.commit()
    stranger = Path(spool.paths.batch(found.batch_id), "notes.txt")
    stranger.write_text("mine")

    batch.spread(spool)

    assert len(waiting(spool)) == 3
    assert stranger.read_text() == "mine"
    assert not admit.pending(spool)


def test_the_members_of_an_array_are_names_of_one_file(spool, monkeypatch):
    """A new one where a file cannot have more names."""
    monkeypatch.setattr(batch, "LINKS_PER_FILE", 4)
    found = gathered(spool, {"argv": ["true"], "array": {"indexes": "0-9"}})

    found.commit()
    batch.spread(spool)

    inodes = Counter(os.stat(spool.paths.queued(job_id, 0)).st_ino for _, job_id in spool.waiting())
    assert sorted(inodes.values()) == [2, 4, 4]
    assert all(is_job_id(job_id) for _, job_id in spool.waiting())


def test_where_files_cannot_have_two_names_the_members_are_copies(spool, monkeypatch):
    file_system.patch(monkeypatch, "link_new", lambda source, path: False)
    found = gathered(spool, {"argv": ["true"], "array": {"indexes": "0-2"}})

    found.commit()
    batch.spread(spool)

    assert len({os.stat(spool.paths.queued(job_id, 0)).st_ino for _, job_id in spool.waiting()}) == 3


def test_members_start_in_the_order_of_their_numbers(spool):
    found = gathered(spool, {"argv": ["true"], "array": {"indexes": "8-11,100"}}, {"argv": ["true"]})

    found.commit()
    batch.spread(spool)

    family, later = found.job_ids
    assert [job_id for _, job_id in spool.waiting()] == [f"{family}[{i}]" for i in (8, 9, 10, 11, 100)] + [later]


@pytest.mark.parametrize(
    "indexes", ["", "a", "3-1", "0-", "-1", "1:2", "0-4:0", "0-2000000", "99999999", "1,,2", "0-3%2"]
)
def test_an_array_that_is_none_is_set_aside_with_the_reason(spool, indexes):
    dropped_array(spool, indexes)

    a_dispatcher_comes(spool)

    assert waiting(spool) == []
    assert os.listdir(spool.paths.tmp) == os.listdir(spool.paths.batches) == []
    why = Path(spool.paths.rejected, "array.json.why").read_text()
    assert why.startswith("$.array.indexes: ")


def test_a_disk_that_is_full_refuses_the_whole_batch(spool, monkeypatch):
    found = gathered(spool, *SPECS)

    def full(path):
        raise StorageFailed("cannot sync: No space left on device")

    file_system.patch(monkeypatch, "sync_directory", full)
    with pytest.raises(StorageFailed):
        found.commit()
    monkeypatch.undo()
    found.abandon()

    a_dispatcher_comes(spool)
    assert waiting(spool) == left_over(spool) == []


def test_a_bad_array_in_a_batch_is_refused_when_it_is_added(spool):
    found = batch.Batch(spool)

    with pytest.raises(BadDocument, match="ends before it begins"):
        found.add({"argv": ["true"], "array": {"indexes": "3-1"}})


def test_whoever_looks_for_a_job_finds_it_though_its_submitter_died_on_the_way(spool):
    """Acknowledged, not yet in queue/, and no dispatcher awake."""
    found = gathered(spool, *SPECS)
    found.commit()

    assert [look(spool, job_id).state for job_id in found.job_ids] == [State.WAITING, State.WAITING, State.HELD]


def test_the_list_shows_what_a_dead_submitter_left(spool):
    found = gathered(spool, *SPECS)
    found.commit()

    listed = take_listing(spool, Wanted(reasons=False))

    assert {job.job_id for section in listing_jobs(listed) for job in section} == set(found.job_ids)


def listing_jobs(listed):
    return [section.jobs for section in listed.sections]


def test_a_key_is_of_one_job_and_not_of_one_among_many(spool):
    with batch.Batch(spool) as gathered, pytest.raises(BadDocument, match="a key is of one job"):
        gathered.add({"argv": ["true"], "unique": "nightly"})


def test_two_on_hold_share_the_folder_of_those(spool):
    with batch.Batch(spool) as gathered:
        for _ in range(2):
            gathered.add({"argv": ["true"], "hold": True})
        gathered.commit()

    batch.spread(spool)

    assert [job_id for _, job_id in spool.held()] == gathered.job_ids


def test_a_batch_keeps_its_order_though_the_clock_goes_back(spool, monkeypatch):
    stamps = iter([1, 5, 3, 4, 6])
    monkeypatch.setattr(batch, "new_job_id", lambda: f"q_173801241234{next(stamps)}_a1b2c3d4")
    with batch.Batch(spool) as gathered:
        ids = [gathered.add({"argv": ["true"]}) for _ in range(2)]

    assert ids == ["q_1738012412345_a1b2c3d4", "q_1738012412346_a1b2c3d4"]


def test_what_cannot_be_taken_away_now_is_swept_later(spool, monkeypatch):
    def refuse(path):
        raise StorageFailed(f"cannot remove {path}")

    gathered = batch.Batch(spool)
    gathered.add({"argv": ["true"]})
    with monkeypatch.context() as bad_moment:
        file_system.patch(bad_moment, "remove_tree", refuse)
        gathered.abandon()
    assert files.names(spool.paths.tmp)

    for name in files.names(spool.paths.tmp):
        os.utime(f"{spool.paths.tmp}/{name}", (1, 1))
    admit.sweep_tmp(spool)

    assert files.names(spool.paths.tmp) == []
