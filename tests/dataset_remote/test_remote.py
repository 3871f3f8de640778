"""A data set from a server is the same data set."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")

from forgather_spool.dataset import ComposableIterableDataset
from forgather_spool.dataset.address import parse_address
from forgather_spool.dataset.errors import ContentChanged, ServerRefused, ServerUnreachable
from forgather_spool.dataset.remote import ahead
from forgather_spool.dataset.remote.server import Server
from forgather_spool.dataset.walk import Walk
from forgather_spool.errors import Missing, UsageError
from tests.dataset_server.conftest import table, write
from tests.dataset_server.serving import Served
from tests.waiting import wait_until

Load = Callable[..., ComposableIterableDataset]


def whole(data: ComposableIterableDataset, walk: Walk | None = None, **options: Any) -> Any:
    """The rows of a walk (by default all) as a table, and that each batch says where it stands."""
    walk = walk or Walk(0, len(data.order))
    found = []
    for at, batch in data.rows.batches(data.order, walk, **options):
        assert at == sum(one.num_rows for one in found)
        found.append(batch)
    return pa.Table.from_batches(found)


def test_order_and_values_are_those_of_the_files(
    served: Served, here: ComposableIterableDataset, from_servers: Load
) -> None:
    """In every order, part and selection of columns; the schema with its metadata too."""
    there = from_servers(served)

    assert (len(there), there.fingerprint, there.column_names) == (len(here), here.fingerprint, here.column_names)
    assert there.rows.schema.equals(here.rows.schema, check_metadata=True)
    for change in (
        lambda data: data,
        lambda data: data.shuffle(7),
        lambda data: data.shuffle(7, window=True),
        lambda data: data.slice("10%", "90%").shuffle(3).slice(5, -5),
        lambda data: data.shuffle(1).shard(3, 1),
        lambda data: data.shuffle(2).select_columns(["tokens", "number"]),
        lambda data: data.select_columns(data.column_names[::-1]),
        lambda data: data.select_columns([]),
    ):
        assert list(change(there)) == list(change(here))
    assert whole(there.shuffle(7)) == whole(here.shuffle(7))
    walk = Walk(first=5, count=300, block=2, step=1, stride=3)
    assert whole(there.shuffle(9), walk) == whole(here.shuffle(9), walk)


def test_data_files_may_be_paths_of_any_kind(served: Served, from_servers: Load) -> None:
    for files in (Path("*.arrow"), [Path("a.arrow"), "b.arrow"], {"train": Path("a.arrow")}):
        assert len(from_servers(served, data_files=files)) > 0


def test_split_bounds_are_applied_by_the_client(
    served: Served, here: ComposableIterableDataset, from_servers: Load
) -> None:
    assert list(from_servers(served, split="train[-3:]")) == list(here.slice(-3, None))


def test_21_a_server_sends_what_its_readers_take_and_no_row_more(served: Served, from_servers: Load) -> None:
    """The predecessor's ranks and workers each asked for everything to the end, and threw most of it away."""
    there = from_servers(served)

    def sent() -> int:
        return int(served.get("/v1/stats").json["rows"])

    for part, rows in (
        (there.slice(100, 200), 100),
        (there.shuffle(1).shard(4, 3), 250),
        (there.shuffle(1).slice(0, 90).shard(3, 1).select_columns("number"), 30),
    ):
        before = sent()
        assert len(list(part)) == rows
        assert sent() - before == rows


def test_a_position_saved_here_goes_on_there(
    served: Served, here: ComposableIterableDataset, from_servers: Load
) -> None:
    """The state names content and order, and says nothing of where the rows lie."""
    here, there = here.shuffle(4), from_servers(served).shuffle(4)
    reader = iter(here)
    begun = [next(reader) for _ in range(123)]

    there.load_state_dict(here.state_dict())

    assert begun + list(there) == list(here.shuffle(4))


def test_a_pickled_data_set_reads_on(served: Served, here: ComposableIterableDataset, from_servers: Load) -> None:
    assert list(pickle.loads(pickle.dumps(from_servers(served)))) == list(here)


@pytest.mark.parametrize("waited_s", [0.01, -1], ids=["read by itself", "read by a thread"])
def test_an_iteration_that_is_left_holds_nothing(
    served: Served, from_servers: Load, monkeypatch: pytest.MonkeyPatch, waited_s: float
) -> None:
    """No thread, and no stream that the server would have to keep for it."""
    monkeypatch.setattr(ahead, "PATIENCE_S", waited_s)
    reader = iter(from_servers(served).shuffle(1))
    next(reader)

    del reader

    wait_until(lambda: all(thread.name != "forgather-dataset" for thread in threading.enumerate()))
    wait_until(lambda: served.get("/v1/stats").json["streams"] == 0)


def test_a_forked_process_reads_on_for_itself(
    served: Served, from_servers: Load, here: ComposableIterableDataset
) -> None:
    """Over a connection of its own, where its parent was; and its parent is not disturbed."""
    reader, expected = iter(from_servers(served)), list(here)
    assert [next(reader) for _ in range(10)] == expected[:10]

    pid = os.fork()
    if not pid:
        try:
            os._exit(0 if list(reader) == expected[10:] else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(reader) == expected[10:]


@pytest.mark.parametrize("columns", [["nothing"], ["text", "nothing"]])
def test_a_column_that_is_not_there_is_said_before_anything_is_sent(
    served: Served, from_servers: Load, columns: list[str]
) -> None:
    data = from_servers(served)

    with pytest.raises(UsageError, match="no column 'nothing'"):
        data.rows.batches(data.order, Walk(0, 1), columns=columns)


def test_a_token_made_anew_is_told_from_one_that_was_given(served: Served) -> None:
    """It had said to look at a variable that was not set."""

    def hint(**given: str) -> str:
        with pytest.raises(ServerRefused) as error, pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            Server(parse_address(served.listening.url, "old")).load({"path": "local/stories"})
        return error.value.hint

    assert "made anew" in hint()
    assert hint(FORGATHER_DATASET_SERVER_TOKEN="old") == "look at FORGATHER_DATASET_SERVER_TOKEN"


def test_a_wrong_token_is_said(served: Served, from_servers: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """And neither that token nor the right one."""
    monkeypatch.setenv("FORGATHER_DATASET_SERVER_TOKEN", "wrong")

    with pytest.raises(ServerRefused, match="does not take this token") as error:
        from_servers(served.listening.url)

    assert "wrong" not in str(error.value) and str(served.token) not in str(error.value)


def test_a_bundle_brings_its_token(
    served: Served, here: ComposableIterableDataset, from_servers: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = f"forgather-dataset://127.0.0.1:{served.port}/?token={served.token}"

    there = from_servers(bundle)

    assert list(there) == list(here)
    assert str(served.token) not in repr(there) + str(there.rows.servers) + str(capsys.readouterr())


def test_what_a_server_has_not_got_is_said(served: Served, from_servers: Load) -> None:
    with pytest.raises(ServerRefused, match="404"):
        from_servers(served, path="local/nothing")


def test_a_server_that_is_not_there_is_said(from_servers: Load) -> None:
    """At once: without a limit for retries, nobody waits for a wrong address."""
    with pytest.raises(ServerUnreachable, match="Connection refused"):
        from_servers("http://127.0.0.1:9")


def test_servers_with_other_data_under_one_name_are_refused(tmp_path: Path, served: Served, from_servers: Load) -> None:
    """Names prove nothing: the fingerprint of the content does."""
    others = write(tmp_path / "others.arrow", table().slice(1))
    with (
        Served(tmp_path / "home2", local={"stories": str(others)}, auth_token=served.token) as another,
        pytest.raises(ContentChanged, match="different data under this name"),
    ):
        from_servers(served, another)


def test_replicas_are_servers_of_equal_content(
    tmp_path: Path, served: Served, here: ComposableIterableDataset, from_servers: Load
) -> None:
    """Stored in other pieces, at another place. One that is down may come back; one without the data is left out."""
    copy = write(tmp_path / "copy.arrow", table())
    with (
        Served(tmp_path / "home2", local={"stories": str(copy)}, auth_token=served.token) as another,
        Served(tmp_path / "home3", auth_token=served.token) as empty,
    ):
        there = from_servers(served, "http://127.0.0.1:9", another, empty)

        assert len(there.rows.servers) == 3
        assert empty.listening.url not in there.rows.servers
        assert list(there.shuffle(2)) == list(here.shuffle(2))


def test_auto_finds_the_servers_of_this_user(
    served: Served, here: ComposableIterableDataset, from_servers: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the tokens under the home, of which only those count whose port is listened on."""
    monkeypatch.setenv("FORGATHER_HOME", served.paths.home)
    Path(served.paths.dataset_token(9)).write_text("of a server that is gone")

    assert list(from_servers("auto")) == list(here)


def test_auto_without_a_server_says_so(tmp_path: Path, from_servers: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path))
    monkeypatch.setattr("forgather_spool.dataset.remote.nearby.DEFAULT_PORT", 9)

    with pytest.raises(Missing, match="no dataset server of yours"):
        from_servers("auto")
