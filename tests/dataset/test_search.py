"""Which files a folder or a pattern means, and that one gives up where there is too much else."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the extra: pip install 'forgather-spool[dataset]'")

from forgather_spool.dataset.storage import search
from forgather_spool.dataset.storage.search import Search
from forgather_spool.dataset.storage.sources import source_of
from forgather_spool.errors import Missing

NAMES = [
    "a.txt",
    "b.json",
    ".hidden.txt",
    "x/a.txt",
    "x/y/a.txt",
    "x/.h/a.txt",
    "z[1]/a.txt",
    "z1/c.txt",
    "x/y/deep/b.txt",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "x")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.txt")
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["*.txt", "*", "**", "**/*.txt", "x/**/a.txt", "**/y/**", "*/a.txt", "*/", "z[[]1]/*", "z[1]/*", ".*",
     "./x/../*.json", "**/**/b.txt", "x//y/*.txt", "none/*", "x/.h/*", "[ab].*", "linked/*", "a.txt/*"],
)  # fmt: skip
def test_a_pattern_means_what_it_means_to_glob(folder: Path, pattern: str) -> None:
    whole = os.path.join(folder, pattern)

    assert Search(pattern).matching(whole) == sorted(set(filter(os.path.isfile, glob.glob(whole, recursive=True))))


def test_a_pattern_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert Search("").matching("**/y/*") == ["linked/y/a.txt", "x/y/a.txt"]


def test_a_folder_that_contains_itself_is_gone_into_once(folder: Path) -> None:
    (folder / "x" / "again").symlink_to(folder)

    assert Search("").matching(f"{folder}/x/**/b.json") == [f"{folder}/x/again/b.json"]


def test_what_lies_in_a_folder_are_files_that_are_not_hidden(folder: Path) -> None:
    (folder / "folder.txt").mkdir()

    assert Search("").below(str(folder), lambda name: name.endswith(".txt")) == sorted(
        f"{folder}/{name}" for name in NAMES if name.endswith(".txt") and "/." not in f"/{name}"
    )


@pytest.mark.parametrize("named", ["{}", "{}/**/*.txt", "{}/*/*/*.txt", "{}/**/a.txt"])
def test_where_there_is_too_much_else_one_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """As in a home, or in "/": a server looked at the whole disk."""
    monkeypatch.setattr(search, "OTHERS", 50)
    for number in range(40):
        (tmp_path / f"{number}" / "src").mkdir(parents=True)
        for name in "bc":
            (tmp_path / f"{number}" / "src" / f"{name}.py").touch()

    with pytest.raises(Missing, match="looked at 50 names that are none of it") as error:
        source_of(named.format(tmp_path))

    assert "own folder" in error.value.hint


def test_so_many_files_are_no_data_set_either(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FILES", 5)

    with pytest.raises(Missing, match="more than 5 files"):
        Search("x").matching(f"{folder}/**")


def test_many_folders_of_data_are_no_reason_to_give_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "OTHERS", 10)
    for number in range(40):
        (tmp_path / f"day={number}").mkdir()
        (tmp_path / f"day={number}" / "part.txt").touch()

    assert len(Search("").below(str(tmp_path), lambda name: name.endswith(".txt"))) == 40
    assert len(Search("").matching(f"{tmp_path}/*/*.txt")) == 40
    assert len(Search("").matching(f"{tmp_path}/**/*.txt")) == 40
