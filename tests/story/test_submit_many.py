"""`forgather submit --batch` and `--array` as a user runs them: all the lines or none, and which line is wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from forgather_spool.cli import entry
from forgather_spool.cli.submit import many
from forgather_spool.spool.names import is_job_id
from forgather_spool.spool.queue import Spool
from tests.story.test_submit import Run, forgather, home, queued

__all__ = ["forgather", "home"]  # the fixtures


def lines(*documents: object) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


def test_however_a_line_is_spelled_it_means_the_same(forgather: Run, home: Path):
    spellings = [
        '{"argv": ["\u00e9", "}"], "name": "n", "job_params": {"a": {}}}',
        ' \t{"job_params":{"a":{ } } , "name":"n","argv":["\\u00e9","\\u007d"]} \r',
        '{"name": "n", "job_params": {"a": {}}, "argv": ["é", "}"], "priority": 3, "version": 1}',
    ]

    answer = forgather("submit", "--priority=3", "--batch", "-", stdin="\n".join(spellings))

    assert answer.returncode == 0
    one, *others = queued(home)
    assert (one["argv"], one["name"], one["job_params"], one["priority"]) == (["é", "}"], "n", {"a": {}}, 3)
    assert others == [one, one]


def test_a_line_that_is_too_large_with_what_it_leaves_out_is_refused(forgather: Run, home: Path):
    value = "x" * 100_000
    line = json.dumps({"argv": ["true", *[value] * 10]})

    answer = forgather("submit", "--env", f"X={value}", "--batch", "-", stdin=line)

    assert (answer.returncode, queued(home)) == (65, [])
    assert "with what the command line adds, larger than 1048576 bytes" in answer.stderr


def test_each_line_of_a_batch_is_a_job_in_the_order_of_the_lines(forgather: Run, home: Path):
    text = lines({"argv": ["echo", "1"]}, {"argv": ["echo", "2"], "name": "second"}) + "\n"

    answer = forgather("submit", "--batch", "-", stdin=text)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("queued: 2 jobs (q_")
    assert [spec["argv"] for spec in queued(home)] == [["echo", "1"], ["echo", "2"]]


def test_what_a_line_leaves_out_comes_from_the_command_line(forgather: Run, home: Path, tmp_path: Path):
    text = lines({"argv": ["a"]}, {"argv": ["b"], "priority": 1, "cwd": "/", "env": {"SEED": "2"}})

    forgather(
        "submit", "--name", "sweep", "--priority=5", "--env", "SEED=1", "--env", "X=y", "--batch", "-", stdin=text
    )

    first, second = queued(home)
    assert (first["argv"], first["name"], first["priority"], first["cwd"]) == (
        ["a"],
        "sweep",
        5,
        str(tmp_path / "work"),
    )
    assert (second["argv"], second["name"], second["priority"], second["cwd"]) == (["b"], "sweep", 1, "/")
    assert (first["env"]["SEED"], second["env"]["SEED"], second["env"]["X"]) == ("1", "2", "y")
    assert first["env"]["PATH"] == second["env"]["PATH"]


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('{"argv": ["x"], "gpus": "two"}', "$.gpus: expected integer, got string"),
        ('{"argv": ["x"], "gpu": 2}', "$.gpu: no such field"),
        ('{"argv": ["x"]', "$: not JSON"),
        ('{"argv": ["x"], "array": {"indexes": "3-1"}}', "$.array.indexes: '3-1' ends before it begins"),
        ('{"argv": ["x"], "array": {"indexes": "0-3", "limit": 0}}', "$.array.limit: 0 is less than 1"),
        ("[1]", "$: expected an object, got array"),
        ('{"argv": ["x"], "begin_at": "soon"}', "$.begin_at: 'soon' is not an RFC 3339 time"),
        ('{"argv": ["x"], "retries": 1, "retry_on": ["bad luck"]}', "$.retry_on[0]: 'bad luck' is no way to fail"),
        ('{"argv": ["x"], "notify": ["pigeon"]}', "$.notify[0]: 'pigeon' is nobody to tell"),
        ('{"argv": ["x"], "unique": "k"}', "$.unique: a key is of one job"),
    ],
)
def test_one_bad_line_refuses_the_whole_batch_and_is_named(forgather: Run, home: Path, tmp_path: Path, line, where):
    file = tmp_path / "my jobs.jsonl"
    file.write_text(lines({"argv": ["good"]}) + line + "\n")

    answer = forgather("submit", "--batch", str(file))

    assert (answer.returncode, answer.stdout) == (65, "")
    first, hint = answer.stderr.splitlines()
    assert first.startswith(f"error: line 2 of {file}: {where}")
    assert hint == f"  fix: see it: sed -n 2p '{file}'; go on without it: sed 2d '{file}' | forgather submit --batch -"
    assert queued(home) == []
    assert list((home / "spool" / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch", "-"], "stdin: no job in it"),
        (["--batch", "-", "--", "echo"], "--batch goes with no command"),
        (["--batch", "-", "--script", "x"], "--batch goes with no --script"),
        (["--batch", "-", "--unique", "k"], "--batch goes with no --unique: a key is of one job"),
        (["--batch", "-", "--array", "0-3"], "--batch goes with no --array"),
        (["--array", "3-1", "--", "echo"], "--array: '3-1' ends before it begins"),
        (["--array", "0-3%x", "--", "echo"], "--array: 'x' after % is no number of members"),
    ],
)
def test_what_cannot_be_meant_is_refused(forgather: Run, home: Path, words, says):
    answer = forgather("submit", *words, stdin="\n")

    assert answer.returncode == 2
    assert says in answer.stderr
    assert queued(home) == []


def test_a_file_that_is_not_there_is_one_line_and_a_way_out(forgather: Run):
    answer = forgather("submit", "--batch", "nowhere.jsonl")

    assert answer.returncode == 65
    assert answer.stderr == (
        "error: nowhere.jsonl: No such file or directory; no job was submitted\n"
        "  fix: name a file with one JSON object a line, or - for stdin\n"
    )


@pytest.mark.parametrize("words", [["--array", "0-2", "--", "true"], ["--batch", "-"]])
def test_what_is_submitted_on_hold_is_not_called_queued(forgather: Run, home: Path, words):
    text = lines({"argv": ["a"]}, {"argv": ["b"]})

    assert forgather("submit", "--hold", *words, stdin=text).stdout.startswith("held: ")
    assert queued(home) == []


def test_the_ids_are_there_for_scripts(forgather: Run, home: Path):
    text = lines({"argv": ["a"]}, {"argv": ["b"], "array": {"indexes": "0-4"}})

    document = json.loads(forgather("submit", "--batch", "-", "--json", stdin=text).stdout)
    quiet = forgather("submit", "--batch", "-", "--quiet", stdin=text).stdout.split()

    assert document["jobs"] == 6
    assert len(document["job_ids"]) == len(quiet) == 2
    assert all(map(is_job_id, quiet))
    assert len(queued(home)) == 12


def test_a_dry_run_checks_and_submits_nothing(forgather: Run, home: Path):
    answer = forgather("submit", "--batch", "-", "--priority", "3", "--dry-run", stdin=lines({"argv": ["a"]}))

    assert json.loads(answer.stdout)["priority"] == 3
    assert not home.exists()


def test_an_array_is_its_members(forgather: Run, home: Path):
    answer = forgather("submit", "--array", "0-99%4", "--priority", "2", "--", "echo")

    family = answer.stdout.split()[1].removesuffix("[*]")
    assert answer.stdout == f"queued: {family}[*] (100 jobs, priority=2, gpus=0)\n"
    assert Spool(str(home)).waiting() == [(-2, f"{family}[{i}]") for i in range(100)]
    assert queued(home)[99]["array"] == {"indexes": "0-99", "limit": 4}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_sees_how_far_a_large_array_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A million members are most of a minute in which nothing was said. (Here the first are worth a word.)"""
    terminal = Terminal()
    monkeypatch.setattr(many, "PROGRESS_AFTER_S", 0)
    monkeypatch.setattr(many, "PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_NO_WAKE", "1")

    assert entry.main(["submit", "--hold", "--array", "0-1023", "--", "true"]) == 0

    said = terminal.getvalue().split("\r")
    assert [line for line in said if line.startswith("1,024")] == [
        "1,024 jobs written; none is queued before the last",
        "1,024 jobs moved into the queue; all are safe",
    ]
    assert said[-1] == "\x1b[K", "the line is cleared"
