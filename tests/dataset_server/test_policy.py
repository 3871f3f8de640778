"""What may be loaded: by name always, by path or from the hub only when the operator says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forgather_spool.dataset_server.policy import Denied, allowed
from forgather_spool.dataset_server.settings import Settings
from tests.dataset_server.serving import Served

LOCKED = Settings(local={"stories": "/data/stories"}, no_hf=True)
TRAVERSAL = [
    "..", "../", "../..", "stories/..", "stories/../..", "stories/../stories", "./stories", "stories/", "stories/.",
    "//stories", "/stories", "stories%2f..", "%2e%2e", "..%2f..%2fetc/passwd", "..\\..", "stories\\..", "stories\0",
    "stories\0.txt", "~", "~root", "$HOME", "stories/a.arrow", "STORIES", "stories ", " stories", "sto*", "stories\n",
    "\u2025/\u2025", "\uff0e\uff0e/etc", "file:///etc/passwd", "stories?x", "stories#x", "....//....//etc/passwd",
]  # fmt: skip
DATA_FILES = [
    "/etc/passwd", "../secret", "a/../../secret", "~/.ssh/id_rsa", "https://evil.example/x.parquet",
    "file:///etc/passwd", "hf://datasets/x/y", "s3://bucket/x", "zip://x::https://evil.example/y.zip",
    "a::b", "\\etc\\passwd", "..\\secret", "data/..\\..\\secret", "C:\\x",
]  # fmt: skip


def refused(body: dict[str, object], settings: Settings = LOCKED) -> int:
    with pytest.raises(Denied) as caught:
        allowed(body, settings)
    return caught.value.status


@pytest.mark.parametrize("name", TRAVERSAL)
def test_a_local_name_is_one_of_the_operators_or_nothing(name: str) -> None:
    """It is looked up, never joined to a path."""
    assert refused({"path": f"local/{name}"}) in (400, 404)


@pytest.mark.parametrize("path", ["/etc", "/data/stories", "/nowhere", "/", "//etc"])
def test_a_path_is_refused_the_same_whether_it_exists_or_not(path: str) -> None:
    """So nobody maps our disk by asking."""
    assert refused({"path": path}) == 403


@pytest.mark.parametrize(
    "path",
    [".", "..", "./x", "../x", "~/x", "a/b/c", "a//b", "-x", "a b/c", "http://x/y", ".git", "a..b", "a../b", "a/b.."],
)
def test_what_is_neither_name_nor_path_nor_id_is_refused(path: str) -> None:
    assert refused({"path": path}, Settings(allow_paths=True)) == 400


def test_an_id_that_is_also_a_folder_here_stays_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the predecessor a folder in the working directory turned an id into a path."""
    (tmp_path / "allenai").mkdir()
    monkeypatch.chdir(tmp_path)

    assert allowed({"path": "allenai"}, Settings()).source == "hf"


def test_the_hub_can_be_closed() -> None:
    assert allowed({"path": "allenai/c4", "name": "en"}, Settings()).source == "hf"
    assert refused({"path": "allenai/c4"}) == 403


@pytest.mark.parametrize("pattern", DATA_FILES)
def test_data_files_reach_nothing_outside(pattern: str) -> None:
    for value in (pattern, [pattern], {"train": pattern}, {"train": ["fine.arrow", pattern]}):
        assert refused({"path": "local/stories", "data_files": value}) == 403
        assert refused({"path": "allenai/c4", "data_files": value}, Settings()) == 403


@pytest.mark.parametrize("path", ["json", "text", "parquet", "csv", "imagefolder"])
def test_a_file_format_is_no_way_to_the_servers_files(path: str) -> None:
    """``load_dataset("text", data_files="x")`` reads x in the working directory."""
    assert refused({"path": path, "data_files": "x"}, Settings(allow_downloads=True)) == 403


@pytest.mark.parametrize(
    "body",
    [
        {}, {"path": ""}, {"path": None}, {"path": 1}, {"path": []}, {"path": "local/"}, {"path": "x" * 5000},
        {"path": "a/b", "name": "../x"}, {"path": "a/b", "name": 5}, {"path": "a/b", "split": "../../x"},
        {"path": "a/b", "split": ""}, {"path": "a/b", "revision": "../x"}, {"path": "a/b", "revision": "a/../../x"},
        {"path": "a/b", "data_files": 5}, {"path": "a/b", "data_files": [5]}, {"path": "a/b", "data_files": ""},
        {"path": "a/b", "data_files": [["x"]]}, {"path": "a/b\0"}, {"path": "a/b", "data_files": "x\0"},
    ],
)  # fmt: skip
def test_a_body_that_says_nothing_sensible_is_a_400(body: dict[str, object]) -> None:
    assert refused(body, Settings()) == 400


def test_a_link_in_a_local_folder_leads_nowhere_outside(tmp_path: Path) -> None:
    """A file named by the client is looked at where it really lies."""
    from tests.dataset_server.conftest import table, write

    folder, outside = tmp_path / "stories", tmp_path / "stories-of-others"
    folder.mkdir()
    outside.mkdir()
    write(folder / "a.arrow", table(10))
    write(outside / "secret.arrow", table(10))
    (folder / "link.arrow").symlink_to(outside / "secret.arrow")
    (folder / "dir").symlink_to(outside)
    (folder / "inner.arrow").symlink_to(folder / "a.arrow")

    with Served(tmp_path / "home", local={"stories": str(folder)}) as server:
        for name in ("link.arrow", "dir/secret.arrow", "dir/*", "l*.arrow"):
            answer = server.ask("POST", "/v1/load", {"path": "local/stories", "data_files": name})
            assert answer.status == 400, name
            assert b"of-others" not in answer.body
        assert server.load("local/stories", data_files="inner.arrow")


def test_what_the_server_tells_of_a_load_names_no_path_of_its_own(served: Served, stories: Path) -> None:
    """The predecessor put the resolved path into load_args (fault 24)."""
    handle = served.load("local/stories")
    broken = stories / "c.arrow"
    broken.write_bytes(b"no arrow stream")

    told = [
        served.ask("POST", "/v1/load", {"path": "local/stories"}),
        served.ask("POST", "/v1/load", {"path": "local/stories", "split": "train"}),
        served.ask("POST", "/v1/load", {"path": "local/stories", "data_files": "none-*.arrow"}),
        served.get("/v1/datasets"),
        served.get(f"/v1/datasets/{handle}"),
        served.get("/v1/stats"),
    ]

    assert [answer.status for answer in told[1:3]] != [200, 200]
    for answer in told:
        assert str(stories).encode() not in answer.body
        assert os.path.dirname(stories).encode() not in answer.body


def test_paths_load_when_they_are_allowed(tmp_path: Path, stories: Path) -> None:
    with Served(tmp_path / "home", allow_paths=True) as server:
        assert server.ask("POST", "/v1/load", {"path": str(stories)}).json["source"] == "path"
        assert server.ask("POST", "/v1/load", {"path": str(tmp_path / "none")}).status == 404
