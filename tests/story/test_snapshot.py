"""`submit --snapshot`: what runs is what lay there at submit, whatever becomes of the files until then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forgather_spool.cli.train.starter import FILES
from forgather_spool.snapshot import sweep, take
from forgather_spool.spool.look import look
from forgather_spool.spool.place import locate
from forgather_spool.spool.remove import remove
from tests.story.world import World

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="no git here")


class Repository:
    """A git repository of a user, in the world's folder."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.folder / "project"
        (self.folder / "src").mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write("src/run.sh", "echo committed")
        self.write(".gitignore", "data/\n.venv/\n")
        self.commit()

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=anna", "-c", "user.email=anna@localhost"]
        done = subprocess.run(["git", *who, *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def submit(self, *words: str, cwd: str = "", options: tuple[str, ...] = ()) -> str:
        """The id of a job with a snapshot."""
        where = str(self.folder / cwd)
        done = self.world.forgather("submit", "--snapshot", "--quiet", "--cwd", where, *options, "--", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refs(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", "refs/forgather/").split()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.env["FORGATHER_NO_WAKE"] = "1"
    yield world
    world.end()


@pytest.fixture
def repository(world: World) -> Repository:
    return Repository(world)


def output(world: World, job_id: str) -> str:
    return Path(world.spool.paths.output(job_id, 1)).read_text()


def snapshot_of(world: World, job_id: str) -> dict[str, Any]:
    spec = look(world.spool, job_id).spec
    assert spec is not None
    snapshot = spec.document["snapshot"]
    assert isinstance(snapshot, dict)
    return snapshot


def worktrees(world: World) -> list[str]:
    path = Path(world.spool.paths.worktrees)
    return sorted(p.name for p in path.iterdir() if not p.name.startswith(".")) if path.exists() else []


def test_what_runs_is_what_lay_there_at_submit(world: World, repository: Repository) -> None:
    """Changed, new and deleted files alike; what .gitignore names is not in it."""
    repository.write("src/old.txt", "x")
    repository.commit()
    repository.write("src/run.sh", "echo changed; cat new.txt; ls; ls ../data")
    repository.write("src/new.txt", "new\n")
    repository.write("data/large", "x")
    os.unlink(repository.folder / "src/old.txt")
    job_id = repository.submit("sh", "run.sh", cwd="src")

    repository.write("src/run.sh", "echo edited after submit")
    repository.commit()
    world.dispatch_all()

    assert output(world, job_id).startswith("changed\nnew\nnew.txt\nrun.sh\n"), output(world, job_id)
    assert "data" in output(world, job_id).splitlines()[-1]
    assert (snapshot_of(world, job_id)["changed"], snapshot_of(world, job_id)["untracked"]) == (2, 1)


def test_in_it_git_says_what_it_said_at_submit(world: World, repository: Repository) -> None:
    """A program that logs its commit and its diff logs the true ones."""
    commit = repository.git("rev-parse", "HEAD")
    repository.write("src/run.sh", "git rev-parse HEAD; git diff --name-only HEAD")
    job_id = repository.submit("sh", "run.sh", cwd="src")

    world.dispatch_all()

    assert output(world, job_id) == f"{commit}\nsrc/run.sh\n"


def test_the_users_repository_is_as_it_was(world: World, repository: Repository) -> None:
    repository.write("src/staged", "x")
    repository.git("add", "src/staged")
    repository.write("src/new", "x")
    before = repository.git("status", "--porcelain", "-b")

    repository.submit("true")
    world.dispatch_all()

    assert repository.git("status", "--porcelain", "-b") == before
    assert repository.git("stash", "list") == "" and repository.git("branch") == "* main"


def test_the_collector_of_git_does_not_get_it(world: World, repository: Repository) -> None:
    """Also when the branch it was on is rewritten and everything unreachable is pruned."""
    repository.write("src/run.sh", "echo changed")
    job_id = repository.submit("sh", "run.sh", cwd="src")
    repository.git("checkout", "-q", "--orphan", "other")
    repository.git("commit", "-q", "-m", "y")
    repository.git("branch", "-D", "main")
    repository.git("reflog", "expire", "--expire=all", "--all")
    repository.git("gc", "-q", "--prune=all")

    world.dispatch_all()

    assert output(world, job_id) == "changed\n"


def test_the_directory_may_be_gone_by_then(world: World, repository: Repository) -> None:
    job_id = repository.submit("sh", "run.sh", cwd="src")
    shutil.rmtree(repository.folder / "src")

    world.dispatch_all()

    assert output(world, job_id) == "committed\n"


def test_a_repository_that_is_gone_is_said_to_be(world: World, repository: Repository) -> None:
    job_id = repository.submit("sh", "run.sh", cwd="src")
    repository.folder.rename(world.folder / "moved")

    world.dispatch_all()

    assert "its repository is not at" in output(world, job_id)
    assert look(world.spool, job_id).result.document["outcome"]["exit_code"] == 125


@pytest.mark.parametrize(
    ("text", "mode", "words", "says"),
    [
        (
            "echo no first line",
            0o755,
            ["./tool"],
            "is neither a program nor a script with a first line such as #!/bin/sh",
        ),
        ("#!/no/such/shell", 0o755, ["./tool"], "the interpreter its first line names is not there"),
        ("#!/bin/sh", 0o644, ["./tool"], "is not executable; try: chmod +x"),
        ("#!/bin/sh", 0o755, ["./another"], "/another is not there"),
        ("#!/bin/sh", 0o755, ["no-such-tool"], "the command 'no-such-tool' is not in the job's PATH"),
    ],
)
def test_a_command_that_cannot_be_started_is_said_to_be_that(
    world: World, repository: Repository, text: str, mode: int, words: list[str], says: str
) -> None:
    """It is not the snapshot's fault, as a job without one would say."""
    repository.write("tool", text)
    os.chmod(repository.folder / "tool", mode)
    job_id = repository.submit(*words)

    world.dispatch_all()

    assert says in output(world, job_id)
    assert look(world.spool, job_id).result.document["outcome"]["exit_code"] == 125


def test_a_program_git_does_not_know_is_the_users_own(world: World, repository: Repository) -> None:
    """``.venv/bin/python`` is in no commit."""
    repository.write(".venv/bin/tool", "#!/bin/sh\necho tool in $PWD\n")
    os.chmod(repository.folder / ".venv/bin/tool", 0o755)
    job_id = repository.submit(".venv/bin/tool")

    world.dispatch_all()

    assert output(world, job_id) == f"tool in {world.spool.paths.worktree(job_id)}\n"


def test_a_script_runs_in_the_snapshot(world: World, repository: Repository) -> None:
    script = world.folder / "script.sh"
    script.write_text('#!/bin/sh\ncat src/run.sh; echo "$1"\n')
    job_id = repository.submit("word", options=("--script", str(script)))
    repository.write("src/run.sh", "edited")

    world.dispatch_all()

    assert output(world, job_id) == "echo committedword\n"


def test_the_exit_code_and_the_signals_are_the_commands(world: World, repository: Repository) -> None:
    job_id = repository.submit("sh", "-c", "exit 7")
    killed = repository.submit("sh", "-c", "kill -TERM $$")

    world.dispatch_all()

    outcomes = [look(world.spool, one).result.document["outcome"] for one in (job_id, killed)]
    assert outcomes == [{"kind": "exited", "exit_code": 7}, {"kind": "killed", "signal": 15}]


def test_a_worktree_goes_with_the_job_that_left_nothing_in_it(world: World, repository: Repository) -> None:
    job_id = repository.submit("true")
    world.dispatch_all(FORGATHER_IDLE_S="1.5")
    sweep.sweep_worktrees(world.spool)

    assert worktrees(world) == [] and os.listdir(world.spool.paths.worktrees) == []
    assert repository.git("worktree", "list").count("\n") == 0
    assert look(world.spool, job_id).result is not None


def test_what_a_job_made_stays_until_the_job_is_removed(world: World, repository: Repository) -> None:
    """Ignored files too: checkpoints mostly are."""
    job_id = repository.submit("sh", "-c", "mkdir -p data; echo x > data/checkpoint")
    plain, asked = repository.submit("true"), repository.submit("true", options=("--keep-worktree",))
    world.dispatch_all()

    sweep.sweep_worktrees(world.spool)
    sweep.sweep_worktrees(world.spool)
    assert worktrees(world) == sorted([job_id, asked])
    assert Path(world.spool.paths.worktree(job_id), "data/checkpoint").read_text() == "x\n"

    for one in (job_id, plain, asked):
        remove(world.spool, locate(world.spool, one))
    sweep.sweep_worktrees(world.spool)
    assert worktrees(world) == [] and repository.git("worktree", "list").count("\n") == 0


def test_a_ref_stays_while_any_job_names_it_and_goes_with_the_last(
    world: World, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "YOUNG_S", -1.0)
    first = repository.submit("true")
    again = world.forgather("job", "rerun", first, "--json")
    assert again.returncode == 0, again.stderr
    world.dispatch_all()

    remove(world.spool, locate(world.spool, first))
    assert sweep.sweep_refs(world.spool) == 0 and len(repository.refs()) == 1
    assert world.forgather("sched", "cleanup", "--yes").returncode == 0
    assert sweep.sweep_refs(world.spool) == 1 and repository.refs() == []
    assert os.listdir(world.spool.paths.snapshots) == []


def test_a_submit_on_its_way_loses_nothing_to_a_sweep(world: World, repository: Repository) -> None:
    """Its ref stands before its spec does."""
    take.take(world.spool, str(repository.folder))

    assert sweep.sweep_refs(world.spool) == 0 and len(repository.refs()) == 1


def test_a_rerun_runs_the_same_files_again(world: World, repository: Repository) -> None:
    repository.write("src/run.sh", "echo then")
    first = repository.submit("sh", "run.sh", cwd="src")
    repository.write("src/run.sh", "echo now")
    world.forgather("job", "rerun", first)
    again = next(job_id for _, job_id in world.spool.waiting() if job_id != first)

    world.dispatch_all()

    assert output(world, again) == "then\n"


def test_a_start_that_was_killed_half_way_is_made_anew(world: World, repository: Repository) -> None:
    job_id = repository.submit("sh", "run.sh", cwd="src")
    half = Path(world.spool.paths.worktree(job_id))
    half.mkdir(parents=True)
    (half / ".git").write_text("gitdir: /nowhere\n")
    (half / "src").mkdir()
    (half / "src/run.sh").write_text("echo half\n")

    world.dispatch_all()

    assert output(world, job_id) == "committed\n"


def test_the_commit_and_the_number_of_changes_are_shown(world: World, repository: Repository) -> None:
    commit = repository.git("rev-parse", "HEAD")
    plain = world.forgather("submit", "--quiet", "--cwd", str(repository.folder), "--", "true").stdout.strip()
    repository.write("src/run.sh", "x")
    job_id = repository.submit("true")

    assert f"{commit[:12]} + 1 changed file (snapshot)" in world.forgather("job", "status", job_id).stdout
    assert f"{commit[:12]}; it runs from what lies there" in world.forgather("job", "status", plain).stdout


def test_files_that_nobody_can_mean_are_refused(
    world: World, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write("large.bin", "x" * 100)
    monkeypatch.setattr(take, "UNTRACKED_LIMIT_BYTES", 50)

    with pytest.raises(Exception, match=r"large\.bin"):
        take.take(world.spool, str(repository.folder))

    assert repository.refs() == []


class Killed(BaseException):
    pass


def test_a_submit_killed_anywhere_leaves_nothing_that_a_sweep_does_not_find(
    world: World, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each call of git and each file in turn: no spec, and in the end neither a ref nor its record."""
    repository.write("src/new", "x")
    monkeypatch.setattr(sweep, "YOUNG_S", -1.0)
    for step in range(50):
        with monkeypatch.context() as patch:
            left = iter(range(step))
            for module, name in ((take, "git"), (take.files, "write_once"), (take.files, "make_directory")):
                patch.setattr(module, name, _dying(getattr(module, name), left))
            try:
                take.take(world.spool, str(repository.folder))
                was_killed = False
            except Killed:
                was_killed = True
        sweep.sweep_refs(world.spool)
        assert repository.refs() == []
        if not was_killed:
            assert step > 8
            return
    raise AssertionError("it never came to its end")


def _dying(real: Any, left: Iterator[int]) -> Any:
    def call(*args: Any, **more: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return real(*args, **more)

    return call


@pytest.mark.parametrize("make", ["nothing", "empty"])
def test_without_a_commit_there_is_no_snapshot(world: World, make: str) -> None:
    folder = world.folder / "other"
    folder.mkdir()
    if make == "empty":
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)

    done = world.forgather("submit", "--snapshot", "--cwd", str(folder), "--", "true")

    assert done.returncode == 2 and done.stderr.startswith("error: --snapshot: ")
    assert world.spool.waiting() == []


def test_what_is_not_in_it_is_said(world: World, repository: Repository) -> None:
    repository.write(".gitmodules", "")
    subprocess.run(["git", "init", "-q", "nested"], cwd=repository.folder, check=True)
    repository.write("nested/x", "x")
    words = ["--cwd", str(repository.folder), "--", "cat", str(repository.folder / "src/run.sh")]

    said = world.forgather("submit", "--snapshot", *words).stderr

    assert "submodules" in said and "nested/" in said and "is the file itself" in said


def test_another_repository_within_this_one_counts_as_no_new_file(world: World, repository: Repository) -> None:
    subprocess.run(["git", "init", "-q", "nested"], cwd=repository.folder, check=True)
    repository.write("nested/x", "x")
    repository.write("src/new", "12345")

    done = world.forgather("submit", "--snapshot", "--json", "--cwd", str(repository.folder), "--", "true")

    assert "1 new file (5 bytes): src/new" in done.stderr
    assert snapshot_of(world, json.loads(done.stdout)["job_id"])["untracked"] == 1


@pytest.mark.parametrize(
    ("make", "said", "remedy"),
    [
        (["git", "init", "-q", "--bare"], "has no files: it is a bare repository", "git worktree add"),
        (["true"], "is in no git repository (git rev-parse: fatal: not a git repository", "git init"),
    ],
    ids=["a bare repository", "no repository"],
)
def test_where_there_are_no_files_of_git_the_refusal_says_why(
    world: World, make: list[str], said: str, remedy: str
) -> None:
    """git's reason, not the first warning it prints: a bare clone was told to `git init`."""
    folder = world.folder / "other"
    folder.mkdir()
    subprocess.run(make, cwd=folder, check=True)

    done = world.forgather("submit", "--snapshot", "--cwd", str(folder), "--", "true")

    assert done.returncode == 2
    assert said in done.stderr and remedy in done.stderr


def test_a_file_changed_in_the_moment_it_was_committed_is_in_it(world: World, repository: Repository) -> None:
    """As long as before, and as old as git's index: only its content tells."""
    repository.git("config", "core.trustctime", "false")
    repository.git("config", "core.checkStat", "minimal")
    script, index = repository.folder / "src/run.sh", repository.folder / ".git/index"
    then_ns = script.stat().st_mtime_ns
    repository.write("src/run.sh", "echo as it was")
    for path in (script, index):
        os.utime(path, ns=(then_ns, then_ns))

    job_id = repository.submit("sh", "run.sh", cwd="src")

    world.dispatch_all()
    assert output(world, job_id) == "as it was\n"


def test_the_jobs_of_a_batch_share_a_snapshot_with_those_of_their_directory(
    world: World, repository: Repository
) -> None:
    repository.write("src/run.sh", "echo as it was")
    repository.write("other/run.sh", "echo other")
    file = world.folder / "jobs.jsonl"
    here, other = str(repository.folder / "src"), str(repository.folder / "other")
    run = ["sh", "run.sh"]
    file.write_text("".join(json.dumps({"argv": run, **more}) + "\n" for more in ({}, {"cwd": other}, {})))

    done = world.forgather("submit", "--batch", str(file), "--snapshot", "--quiet", "--cwd", here)
    repository.write("src/run.sh", "echo changed meanwhile")

    assert done.returncode == 0, done.stderr
    jobs = done.stdout.split()
    assert len(repository.refs()) == 2
    assert snapshot_of(world, jobs[0]) == snapshot_of(world, jobs[2]) != snapshot_of(world, jobs[1])
    world.dispatch_all()
    assert [output(world, job_id) for job_id in jobs] == ["as it was\n", "other\n", "as it was\n"]


def test_a_batch_in_no_repository_says_which_line_and_leaves_nothing(world: World, repository: Repository) -> None:
    text = json.dumps({"argv": ["true"], "cwd": str(repository.folder)}) + "\n" + json.dumps({"argv": ["true"]}) + "\n"
    file = world.folder / "jobs.jsonl"
    file.write_text(text)

    done = world.forgather("submit", "--batch", str(file), "--snapshot", "--cwd", "/")

    assert done.returncode == 2
    assert f"line 2 of {file}: --snapshot: / is in no git repository" in done.stderr
    assert world.spool.waiting() == []


def test_a_training_in_the_queue_runs_the_script_as_it_was(world: World, repository: Repository) -> None:
    repository.write("src/train.yaml", "name: t\nscript: say.py\n")
    repository.write("src/say.py", "print('as it was')")

    done = world.forgather(
        "-p", str(repository.folder / "src"), "-t", "train", "train", "--enqueue", "--snapshot", "--requested-gpus", "0"
    )
    repository.write("src/say.py", "print('changed meanwhile')")

    assert done.returncode == 0, done.stderr
    [(_, job_id)] = world.spool.waiting()
    world.dispatch_all()
    assert output(world, job_id) == "as it was\n"


def test_the_built_in_trainer_has_no_files_to_take_a_snapshot_of(world: World, repository: Repository) -> None:
    repository.write("src/train.yaml", FILES["train.yaml"])

    done = world.forgather(
        "-p", str(repository.folder / "src"), "-t", "train", "train", "--enqueue", "--snapshot", "--requested-gpus", "0"
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: --snapshot with the built-in trainer: ")
    assert world.spool.waiting() == []
