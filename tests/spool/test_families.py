"""Which jobs are meant by a few words: members, some of them, whole arrays, names."""

from __future__ import annotations

import pytest

from forgather_spool.errors import NoSuchJob, UsageError
from forgather_spool.spool import batch, families
from forgather_spool.spool.ended import ended_places
from forgather_spool.spool.look import find
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.remove import remove
from tests.builders import damage, ended, running, submitted


@pytest.fixture
def spool(tmp_path):
    return Spool(str(tmp_path / "home")).create()


@pytest.fixture
def family(spool):
    """Ten members: 0 has ended, 1 runs, 9 is on hold, the others wait."""
    family = batch.submit_one(spool, {"argv": ["true"], "name": "sweep", "array": {"indexes": "0-9"}})
    ended(spool, (0, f"{family}[0]"))
    running(spool, (0, f"{family}[1]"))
    spool.paths.waiting_at(f"{family}[9]", 0, held=True)
    (source, target) = (spool.paths.waiting_at(f"{family}[9]", 0, held=held) for held in (False, True))
    batch.files.move(source, target)
    return family


def numbers(job_ids):
    return [int(job_id.partition("[")[2][:-1]) for job_id in job_ids]


@pytest.mark.parametrize(
    ("selection", "members"),
    [
        ("", range(10)),
        ("[*]", range(10)),
        ("[3-7]", range(3, 8)),
        ("[8-9]", [8, 9]),
        ("[0,9,1]", [0, 1, 9]),
        ("[7]", [7]),
    ],
)
def test_a_selection_means_the_members_there_are_wherever_they_stand(spool, family, selection, members):
    assert numbers(families.find_all(spool, [family + selection])) == list(members)


def test_one_member_is_meant_by_its_arrays_name_and_its_number(spool, family):
    assert families.find_one(spool, "sweep[7]") == f"{family}[7]"
    assert families.find_one(spool, f"{family[:-2]}[7]") == f"{family}[7]"
    with pytest.raises(NoSuchJob, match=r"sweep\[6-7\] is 2 jobs, and one is needed here"):
        families.find_one(spool, "sweep[6-7]")
    with pytest.raises(NoSuchJob, match="no member"):
        families.find_one(spool, "sweep[70]")


def test_the_short_id_of_a_narrow_list_means_the_array_and_selects_from_it(spool, family):
    submitted(spool, name=family[-8:-1])

    assert numbers(families.find_all(spool, [family[-8:]])) == list(range(10))
    assert numbers(families.find_all(spool, [f"{family[-8:]}[*]"])) == list(range(10))
    assert numbers(families.find_all(spool, [f"{family[-8:]}[3-4]"])) == [3, 4]
    assert find(spool, f"{family[-8:]}[7]") == f"{family}[7]"


def test_a_name_and_the_beginning_of_an_id_mean_the_whole_array(spool, family):
    assert families.find_all(spool, ["sweep"]) == families.find_all(spool, [family[:20]])
    assert len(families.find_all(spool, ["sweep"])) == 10
    assert numbers(families.find_all(spool, ["sweep[2-3]"])) == [2, 3]


def test_where_one_job_is_needed_an_array_is_refused_whatever_it_is_called(spool, family):
    for text in ("sweep", family[:20], family[-8:], family):
        with pytest.raises(NoSuchJob, match="is an array") as refused:
            families.find_one(spool, text)
        assert f"{family}[0]" in refused.value.hint


def test_what_is_named_twice_is_meant_once(spool, family):
    entry = submitted(spool)

    found = families.find_all(spool, [entry[1], f"{family}[2-3]", f"{family}[3-4]", entry[1]])

    assert found == [entry[1], *(f"{family}[{i}]" for i in (2, 3, 4))]


def test_a_job_whose_name_ends_like_a_selection_is_found_by_it(spool, family):
    entry = submitted(spool, name="eval[3]")

    assert families.find_all(spool, ["eval[3]"]) == [entry[1]]


@pytest.mark.parametrize("text", ["[11]", "[10-20]"])
def test_members_there_are_none_of_are_no_jobs(spool, family, text):
    with pytest.raises(NoSuchJob):
        families.find_all(spool, [family + text])


def test_what_is_beyond_the_array_is_said_and_nothing_is_meant(spool, family):
    """A slip in a range to be cancelled, or waited for, is no wish for the rest of it."""
    with pytest.raises(NoSuchJob, match=r"^no member sweep\[10-20\]: the array is \[0-9\]\n"):
        families.find_all(spool, ["sweep[8-20]"])
    with pytest.raises(NoSuchJob, match=r"^no member sweep\[99\]: the array is \[0-9\]\n"):
        families.find_one(spool, "sweep[9,99]")


def test_members_that_were_removed_are_left_out_of_a_range(spool, family):
    [place] = ended_places(spool)
    remove(spool, place)

    assert numbers(families.find_all(spool, ["sweep[0-4]"])) == [1, 2, 3, 4]


def test_the_range_of_an_array_whose_spec_cannot_be_read_means_the_members_there_are(spool, family):
    damage(f"{spool.paths.queue}/{family}[8].p0.json")

    assert numbers(families.find_all(spool, [f"{family}[8-20]"])) == [8, 9]


@pytest.mark.parametrize("text", ["[x]", "[]", "[3-1]", "[-1]"])
def test_brackets_that_select_nothing_are_explained(spool, family, text):
    with pytest.raises(UsageError, match=r"is no index|ends before"):
        families.find_all(spool, [family + text])


def test_where_one_job_is_needed_an_array_is_none_and_the_hint_names_a_member(spool, family):
    with pytest.raises(NoSuchJob, match="is an array") as caught:
        find(spool, family)

    assert f"{family}[0]" in caught.value.hint


def test_the_counts_say_where_the_members_stand(spool, family):
    submitted(spool)

    counts = families.count(spool, [family])[family]

    assert (counts.held, counts.waiting, counts.active, len(counts.ended), counts.total) == (1, 7, 1, 1, 10)


def test_many_members_are_looked_at_in_as_many_listings_as_a_few(spool, monkeypatch):
    """Looked for one by one, 100,000 members take an hour: each look lists the whole queue."""
    family = batch.submit_one(spool, {"argv": ["true"], "array": {"indexes": "0-59"}})
    listed: list[str] = []
    names = batch.files.names
    monkeypatch.setattr(batch.files, "names", lambda path: listed.append(path) or names(path))

    def listings(count: int) -> int:
        listed.clear()
        found = list(families.look_all(spool, [f"{family}[{i}]" for i in range(count)]))
        assert numbers(job.job_id for job in found) == list(range(count))
        return sum(path in (spool.paths.queue, spool.paths.held, spool.paths.done) for path in listed)

    assert listings(60) == listings(20)


def test_a_member_that_moved_while_many_were_looked_at_is_found_where_it_is(spool, family, monkeypatch):
    wanted = families.find_all(spool, [family])
    before = families.where(spool, wanted)
    ended(spool, (0, f"{family}[5]"))
    monkeypatch.setattr(families, "where", lambda *_: before)

    found = {job.job_id: job for job in families.look_all(spool, wanted)}

    assert list(found) == wanted
    assert found[f"{family}[5]"].result is not None


def test_where_tells_of_ended_ones_too_and_leaves_out_what_is_gone(spool, family):
    gone = f"{family}[77]"

    at = families.where(spool, [*families.find_all(spool, [family]), gone])

    assert numbers(sorted(at)) == list(range(10))
    assert gone not in at
    assert at[f"{family}[0]"].path.startswith(spool.paths.done)


def test_the_beginning_of_two_arrays_ids_is_neither(spool, family):
    other = batch.submit_one(spool, {"argv": ["true"], "array": {"indexes": "0-1"}})

    beginning = next(family[:n] for n in range(len(family), 0, -1) if other.startswith(family[:n]))

    with pytest.raises(NoSuchJob, match="jobs begin with q_"):
        families.find_all(spool, [beginning])


def test_of_an_array_that_has_not_begun_all_members_wait(spool):
    family = batch.submit_one(spool, {"argv": ["true"], "array": {"indexes": "0-2"}})

    assert families.count(spool, [family])[family] == families.Counts(0, 3, 0, ())
    assert families.count(spool, []) == {}
