"""A job's life as files: every step is one rename or one create-once, and exactly one wins."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.errors import AlreadyClaimed, BadDocument, SpoolUnsafe
from forgather_spool.spool import files
from forgather_spool.spool.names import new_job_id, parse_entries, parse_entry
from forgather_spool.spool.paths import CANCEL
from forgather_spool.spool.queue import Spool, utc_now
from tests import file_system

HOST = "box"
RESULT = {"version": 1, "outcome": {"kind": "exited", "exit_code": 0}, "started_at": None, "ended_at": utc_now()}


@pytest.fixture
def spool(tmp_path):
    spool = Spool(str(tmp_path / "home")).create()
    spool.open_host(HOST)
    return spool


def submit(spool, **spec):
    job_id = spool.submit({"argv": ["true"], "priority": 0, **spec})
    return next(entry for entry in spool.waiting() if entry[1] == job_id)


def test_higher_priorities_come_first_and_then_the_order_of_submitting(spool):
    """Start order is readable from names alone."""
    low, first, second, high = (submit(spool, priority=p) for p in (-5, 0, 0, 7))

    assert spool.waiting() == [high, first, second, low]


def test_of_two_dispatchers_one_gets_the_job(spool):
    """A job is claimed once, and the loser is told."""
    entry = submit(spool)
    spool.open_host("other")

    spool.claim(entry, HOST)

    with pytest.raises(AlreadyClaimed):
        spool.claim(entry, "other")
    assert spool.taken(HOST) == [entry]
    assert spool.taken("other") == [] == spool.waiting()


def test_a_claim_is_either_started_or_withdrawn(spool):
    """One file, two renames: whoever comes second finds nothing."""
    entry = submit(spool)
    spool.claim(entry, HOST)
    spool.write_claim(entry[1], {"version": 1})

    assert spool.withdraw_claim(entry[1])
    assert not spool.start(entry[1])

    spool.write_claim(entry[1], {"version": 1})
    assert spool.start(entry[1])
    assert not spool.withdraw_claim(entry[1])
    assert spool.has_started(entry[1])


def test_a_job_put_back_keeps_its_place(spool):
    """Its priority travels in its name, also while it is claimed."""
    urgent, other = submit(spool, priority=3), submit(spool)
    spool.claim(urgent, HOST)

    spool.put_back(urgent, HOST)

    assert spool.waiting() == [urgent, other]
    assert spool.taken(HOST) == []


def test_the_first_result_stands(spool):
    """A late second writer is told, and changes nothing."""
    entry = submit(spool)
    spool.claim(entry, HOST)

    assert spool.write_result(entry[1], RESULT)
    assert not spool.write_result(entry[1], RESULT | {"outcome": {"kind": "lost", "reason": "late"}})
    spool.finish(entry, HOST, "2026-01-02T03:04:05.000000Z")
    spool.finish(entry, HOST, "2026-01-03T03:04:05.000000Z")

    assert os.listdir(spool.paths.done) == ["2026-01-02"]
    assert spool.taken(HOST) == []


@pytest.mark.parametrize("left", [b"", b'{"version": 1, "att'])
def test_a_result_whose_writing_the_power_cut_off_is_none_and_is_replaced(spool, left):
    entry = submit(spool)
    spool.claim(entry, HOST)
    path = Path(spool.paths.result(entry[1], 1))
    path.write_bytes(left)

    assert not spool.has_result(entry[1])
    assert spool.write_result(entry[1], RESULT)

    assert files.read_document(str(path)) == RESULT
    assert not spool.write_result(entry[1], RESULT | {"outcome": {"kind": "lost", "reason": "late"}})


def test_what_is_no_file_of_ours_in_the_place_of_a_result_stands(spool):
    entry = submit(spool)
    spool.claim(entry, HOST)
    os.mkdir(spool.paths.result(entry[1], 1))

    assert spool.has_result(entry[1])
    assert not spool.write_result(entry[1], RESULT)


def test_a_cancelled_job_never_runs_and_says_who_cancelled_it(spool):
    entry = submit(spool)

    spool.cancel_waiting(entry, "anna")

    assert spool.waiting() == [] == spool.taken(CANCEL)
    assert spool.has_result(entry[1])
    with pytest.raises(AlreadyClaimed):
        spool.claim(entry, HOST)


def test_a_second_request_to_stop_is_answered_and_a_forced_one_is_another_matter(spool):
    entry = submit(spool)
    spool.claim(entry, HOST)

    assert spool.ask_to_stop(entry[1], by="anna")
    assert not spool.ask_to_stop(entry[1], by="ben")
    assert spool.ask_to_stop(entry[1], by="ben", force=True)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177])
def test_nobody_else_can_read_or_write_whatever_the_umask(tmp_path, umask):
    """Files are 0600 and directories 0700."""
    before = os.umask(umask)
    try:
        spool = Spool(str(tmp_path / "deep" / "home")).create()
        spool.open_host(HOST)
        entry = submit(spool)
        spool.claim(entry, HOST)
        spool.write_claim(entry[1], {"version": 1})
        spool.write_result(entry[1], RESULT)
        spool.finish(entry, HOST, utc_now())
    finally:
        os.umask(before)

    for folder, _, names in os.walk(tmp_path / "deep"):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700, folder
        for name in names:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600, name


@pytest.mark.parametrize("folder", ["", "spool", "spool/queue", "spool/incoming", "spool/running"])
def test_a_spool_that_others_may_write_to_is_refused(spool, folder):
    """Whoever can put a file there can run commands as us."""
    path = os.path.join(spool.paths.home, folder)
    os.chmod(path, 0o770)

    with pytest.raises(SpoolUnsafe, match="may be written to by others"):
        Spool(spool.paths.home).create()


def test_ids_sort_in_the_order_they_were_made():
    ids = [new_job_id() for _ in range(2000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "name",
    [
        "q_1738012412345_a1b2c3d4.json", "q_1738012412345_a1b2c3d4.p.json", "q_1738012412345_a1b2c3d4.p007.json",
        "q_1738012412345_a1b2c3d4.p-0.json", "q_1738012412345_a1b2c3d4.p1.json.tmp", "q_x_a1b2c3d4.p1.json",
        "q_1738012412345_A1B2C3D4.p1.json", "q_1738012412345_a1b2c3d4.p999999999.json", "../x.p1.json", ".json", "",
        "q_١٧٣٨٠١٢٤١٢_a1b2c3d4.p1.json",
    ],
)  # fmt: skip
def test_a_name_that_is_not_exactly_ours_is_none_of_ours(name):
    """One job has one name: two spellings of one priority would be two jobs."""
    assert parse_entry(name) is None
    assert parse_entries([name]) == []


def test_the_predecessors_ids_are_read():
    """Ten-digit seconds, as in the old server's documents."""
    assert parse_entry("q_1738012345_a1b2c3d4.p-5.json") == (5, "q_1738012345_a1b2c3d4")


NAMES = st.from_regex(r"q_[0-9]{9,17}_[0-9a-g]{7,9}\.p-?[0-9]{1,10}\.json\n?", fullmatch=True)
OF_FEW_PRIORITIES = st.from_regex(r"q_[0-9]{10}_[0-9a-g]{8}(\.p0)?\.p-?[01]\.json", fullmatch=True)


@given(st.lists(NAMES | OF_FEW_PRIORITIES, unique=True, max_size=4))
def test_many_names_are_read_as_one_is(names):
    """The fast ways for a whole directory, the one for a single priority too, know the same names as the plain one."""
    assert parse_entries(names) == [entry for entry in map(parse_entry, names) if entry is not None]


def test_a_damaged_spec_is_an_error_that_names_file_and_field(spool):
    entry = submit(spool)
    path = spool.paths.queued(entry[1], 0)
    with open(path, "w") as file:
        file.write('{"argv": ["true"], "gpus": "two"}')

    with pytest.raises(BadDocument, match=r"\.p0\.json: \$\.gpus: expected integer, got string"):
        spool.queued_spec(entry)


def test_two_jobs_never_have_one_id(spool, monkeypatch):
    """Of two made in one millisecond with the same random part the second gets another."""
    ids = iter(["q_1738012412345_a1b2c3d4"] * 2 + ["q_1738012412345_00000001"])
    monkeypatch.setattr("forgather_spool.spool.entrance.new_job_id", lambda: next(ids))

    first, second = submit(spool), submit(spool)

    assert (first[1], second[1]) == ("q_1738012412345_a1b2c3d4", "q_1738012412345_00000001")
    assert spool.count_waiting() == 2


def test_a_home_that_is_not_there_is_in_nobodys_hands(tmp_path):
    Spool(str(tmp_path / "nowhere")).check()


def test_a_job_is_put_back_once(spool):
    entry = submit(spool)
    spool.claim(entry, HOST)

    spool.put_back(entry, HOST)
    spool.put_back(entry, HOST)

    assert spool.waiting() == [entry]


def test_a_start_is_not_taken_from_a_claim_that_was_withdrawn(spool):
    entry = submit(spool)
    spool.claim(entry, HOST)
    spool.write_claim(entry[1], {"version": 1})
    spool.withdraw_claim(entry[1])

    assert not spool.start(entry[1])


def test_a_damaged_request_to_stop_is_one_by_somebody(spool):
    entry = submit(spool)
    os.mkdir(spool.paths.job(entry[1]))
    with open(spool.paths.stop_request(entry[1], 1, force=False), "w") as request:
        request.write("{")

    assert spool.asked_to_stop_by(entry[1]) == "somebody"


def test_where_other_programs_look_is_a_promise(tmp_path):
    """Of `docs/reference/spool-format.md`: a trainer, a data set's reader, a script go there by themselves."""
    paths, job_id = Spool(str(tmp_path)).paths, "q_1738012412345_a1b2c3d4"

    assert paths.dataset_token(8766) == f"{tmp_path}/dataset_server/8766.token"
    assert paths.dataset_config == f"{tmp_path}/dataset_server/config.yaml"
    assert paths.auth_token(job_id, 1) == f"{tmp_path}/jobs/{job_id}/auth_token"
    assert paths.script(job_id, 2) == f"{tmp_path}/jobs/{job_id}/attempt-2/script"


def test_what_was_made_durable_before_the_start_is_not_synced_again(spool, monkeypatch):
    entry = submit(spool)
    spool.claim(entry, HOST)
    spool.write_claim(entry[1], {"version": 1})
    spool.make_claim_durable(entry[1])
    file_system.patch(monkeypatch, "make_durable", pytest.fail)

    assert spool.start(entry[1], is_claim_durable=True)
