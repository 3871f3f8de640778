"""Arrays as they run: each member is a job, knows which it is, and is asked for by its number."""

from __future__ import annotations

import json
import os
from pathlib import Path

from forgather_spool.outcome import Exited, Refused
from forgather_spool.spool import batch
from forgather_spool.spool.mailbox import Mailbox
from forgather_spool.spool.queue import Spool
from tests.story.test_submit import Run, forgather, home
from tests.story.world import World

__all__ = ["forgather", "home"]  # the fixtures

LINE = (
    'echo "$FORGATHER_ARRAY_INDEX of $FORGATHER_ARRAY_SIZE, $FORGATHER_JOB_ID" >> members; exit $FORGATHER_ARRAY_INDEX'
)


def submit_array(world: World, indexes: str, line: str = LINE, **more) -> str:
    """The family's id."""
    gathered = batch.Batch(world.spool)
    family = gathered.add({"argv": ["sh", "-c", line], "cwd": str(world.folder), "array": {"indexes": indexes}, **more})
    gathered.commit()
    batch.spread(world.spool)
    return family


def outcomes(world: World, family: str, indexes: range) -> list[object]:
    found = [world.result((0, f"{family}[{i}]")) for i in indexes]
    return [result and result.outcome for result in found]


def test_each_member_runs_once_and_knows_which_it_is(world: World):
    family = submit_array(world, "0-11")

    world.dispatch_all()

    assert outcomes(world, family, range(12)) == [Exited(i) for i in range(12)]
    ran = (world.folder / "members").read_text().splitlines()
    assert sorted(ran) == sorted(f"{i} of 12, {family}[{i}]" for i in range(12))


def test_an_array_dropped_into_incoming_runs_like_one_that_was_submitted(world: World):
    document = {"argv": ["sh", "-c", LINE], "cwd": str(world.folder), "array": {"indexes": "3,5"}}
    Path(world.spool.paths.tmp, "mine").write_text(json.dumps(document))
    os.rename(f"{world.spool.paths.tmp}/mine", f"{world.spool.paths.incoming}/mine.json")

    world.dispatch_all()

    ran = (world.folder / "members").read_text().splitlines()
    assert sorted(line.partition(",")[0] for line in ran) == ["3 of 2", "5 of 2"]


def test_a_dispatcher_that_comes_later_moves_on_what_a_dead_submitter_left(world: World):
    gathered = batch.Batch(world.spool)
    for _ in range(3):
        gathered.add({"argv": ["sh", "-c", "echo x >> ran"], "cwd": str(world.folder)})
    gathered.commit()

    world.dispatch_all()

    assert (world.folder / "ran").read_text() == "x\n" * 3


# -- at the command line ----------------------------------------------------------------------------------------------


def test_the_list_has_one_line_for_an_array_until_asked_for_more(forgather: Run, home: Path):
    family = forgather("submit", "--array", "0-99", "--quiet", "--", "true").stdout.strip()
    forgather("submit", "--name", "other", "--", "true")
    forgather("sched", "cancel", f"{family}[10-14]")
    forgather("sched", "hold", f"{family}[0]")

    lines = forgather("sched", "list", "--no-reasons").stdout.splitlines()
    members = forgather("sched", "list", "--members", "--all").stdout
    some = forgather("sched", "list", f"{family}[8-11]").stdout

    assert len(lines) == 3
    assert lines[1].split()[:2] == ["array", f"{family}[*]"] or lines[2].split()[:2] == ["array", f"{family}[*]"]
    assert sum("1 held, 94 waiting, 5 cancelled" in line for line in lines) == 1
    assert members.count(f"{family}[") == 100
    assert [line.split()[1] for line in some.splitlines()[1:]] == [f"{family}[{i}]" for i in (8, 9, 11, 10)]


def test_other_jobs_are_not_pushed_off_the_list_by_an_array(forgather: Run):
    forgather("submit", "--array", "0-199", "--", "true")
    others = [forgather("submit", "--quiet", "--", "true").stdout.strip() for _ in range(2)]

    answer = forgather("sched", "list", "--no-reasons").stdout

    assert all(job_id in answer for job_id in others)
    assert "more waiting" not in answer


def test_what_does_not_fit_counts_an_array_once(forgather: Run):
    for _ in range(3):
        forgather("submit", "--array", "0-9", "--", "true")

    answer = forgather("sched", "list", "--limit", "1", "--no-reasons").stdout

    assert "… and 2 more waiting" in answer


def test_cancelling_an_array_by_its_id_cancels_every_member(forgather: Run, home: Path):
    family = forgather("submit", "--array", "0-99", "--quiet", "--", "true").stdout.strip()

    answer = forgather("sched", "cancel", family)

    assert answer.stdout == "100 jobs: cancelled while it waited\n"
    assert Spool(str(home)).waiting() == []


def test_the_failed_members_run_again_with_the_numbers_they_had(world: World, forgather: Run):
    line = LINE.replace("exit $FORGATHER_ARRAY_INDEX", "exit $((FORGATHER_ARRAY_INDEX % 3))")
    family = submit_array(world, "0-8", line, name="fit")
    world.dispatch_all()
    (world.folder / "members").unlink()

    answer = forgather("job", "rerun", family, "--failed")
    world.dispatch_all()

    again = answer.stdout.split()[1].removesuffix("[*]")
    ran = (world.folder / "members").read_text().splitlines()
    assert sorted(ran) == [f"{i} of 9, {again}[{i}]" for i in (1, 2, 4, 5, 7, 8)]
    assert outcomes(world, again, range(1, 3)) == [Exited(1), Exited(2)]


def test_rerunning_the_failed_of_an_array_that_went_well_says_so(world: World, forgather: Run):
    family = submit_array(world, "0-1", "true")
    world.dispatch_all()

    answer = forgather("job", "rerun", family, "--failed")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("error: none of them has failed")


def test_waiting_for_an_array_is_waiting_for_all_its_members(world: World, forgather: Run):
    family = submit_array(world, "0-2")
    world.dispatch_all()

    answer = forgather("job", "wait", family)

    assert answer.returncode == 1
    assert len(answer.stdout.splitlines()) == 3


def test_who_comes_after_an_array_waits_for_all_its_members(world: World):
    """By its id; it has ended well if all of them have."""
    family = submit_array(world, "0-5", limit=1)
    members = [f"{family}[{i}]" for i in range(6)]
    wanted_ok = world.submit("touch ran", after=[{"job": family, "when": "ok"}], priority=9)
    any_end = world.submit("ls members", after=[{"job": family, "when": "any"}], priority=9)

    world.dispatch_all()

    last = max(world.result((0, member)).ended_at for member in members)
    assert world.wait_done(any_end).started_at >= last
    reason = f"can never start: {family} ended: 5 of its 6 members failed, and this job wanted it to end well"
    assert world.wait_done(wanted_ok).outcome == Refused(reason)
    assert not (world.folder / "ran").exists()


def test_the_name_of_an_array_means_all_of_it_to_who_comes_after(forgather: Run):
    forgather("submit", "--name", "sweep", "--array", "0-3", "--", "true")

    whole, one = (forgather("submit", "--json", "--after", job, "--", "true") for job in ("sweep:any", "sweep[2]"))

    [all_of_it] = json.loads(whole.stdout)["after"]
    assert "[" not in all_of_it["job"]
    assert json.loads(one.stdout)["after"] == [{"job": f"{all_of_it['job']}[2]", "when": "ok"}]


def test_a_member_is_looked_at_like_any_job(world: World, forgather: Run):
    """Its folder has brackets in its name, and so has its trainer's control folder."""
    family = submit_array(world, "0-1")
    world.dispatch_all()

    answer = forgather("job", "status", f"{family}[*]")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.count("outcome:") == 2
    assert Mailbox(world.spool.paths, f"{family}[1]").status() is None


def test_the_status_of_an_array_is_one_block_that_names_who_did_not_end_well(world: World, forgather: Run):
    family = submit_array(world, "0-5", "test $FORGATHER_ARRAY_INDEX -lt 4 || exit 3", name="sweep")
    world.dispatch_all()

    whole, some = forgather("job", "status", "sweep").stdout, forgather("job", "status", "sweep[3-4]").stdout

    assert f"array:       {family}[*]\n" in whole
    assert "members:     6 done\n" in whole
    assert "not well:    [4-5]: exited 3\n" in whole
    assert [line for line in some.splitlines() if line.startswith("job:")] == [
        f"job:         {family}[3]",
        f"job:         {family}[4]",
    ]
    assert len(json.loads(forgather("job", "status", "sweep", "--json").stdout)) == 6


def test_the_dump_of_an_array_is_that_of_its_members_each_under_its_id(world: World, forgather: Run):
    """By their number; the last line of one that did not end it is ended, so that no id hangs on to it."""
    family = submit_array(world, "9-11", "printf $FORGATHER_ARRAY_INDEX")
    world.dispatch_all()

    whole, one = forgather("job", "dump", family).stdout, forgather("job", "dump", f"{family}[10]").stdout

    assert whole == "".join(f"==> {family}[{i}] <==\n{i}\n" for i in (9, 10, 11))
    assert one == "10"


def test_a_rerun_says_of_how_many_members_it_is(world: World, forgather: Run):
    family = submit_array(world, "0-4", "true")
    world.dispatch_all()

    again = forgather("job", "rerun", f"{family}[1-2]").stdout

    assert again.endswith("[*] (2 jobs, priority=0, gpus=0)\n")
