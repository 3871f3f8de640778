"""The predecessor's faults with data sets, by their number: each a story in which ours does the right thing.

Fault 23's other half and 21 (the client asks for what it needs) are told by the
client's own tests; 24 (TLS) by tests/tls and test_access; 25 by test_settings and test_api.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forgather_spool.dataset.errors import BrokenStream, ContentChanged, StreamRefused
from forgather_spool.dataset.frames import MEDIA_TYPE, FrameReader
from forgather_spool.dataset.rows import Rows
from forgather_spool.dataset_server import loading
from forgather_spool.dataset_server.policy import Wanted
from tests.dataset_server.conftest import ROWS, table, write
from tests.dataset_server.serving import Served
from tests.waiting import wait_until


class Failing(Rows):
    """Rows of another data set, up to a point; then what `error` is."""

    def __init__(self, rows: Rows, after: int, error: Exception) -> None:
        self._rows, self._after, self._error = rows, after, error

    @property
    def schema(self) -> Any:
        return self._rows.schema

    @property
    def fingerprint(self) -> str:
        return self._rows.fingerprint

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, *words: Any, **named: Any) -> Iterator[tuple[int, Any]]:
        for at, batch in self._rows.batches(*words, **named):
            if at >= self._after:
                raise self._error
            yield at, batch


@pytest.mark.parametrize("error", [ContentChanged("files changed"), ValueError("a bug of ours"), OSError("the disk")])
def test_16_what_fails_in_mid_stream_is_an_error_and_no_early_end(
    tmp_path: Path, stories: Path, error: Exception
) -> None:
    """The predecessor's client took a server that died for the end of the epoch."""
    failing = lambda wanted: Failing(loading.load(wanted), 200, error)  # noqa: E731
    with Served(tmp_path / "home", failing, local={"stories": str(stories)}) as server:
        handle = server.load("local/stories")

        with pytest.raises(StreamRefused) as caught:
            server.arrow(handle)
        with pytest.raises(http.client.IncompleteRead):
            server.get(f"/v1/datasets/{handle}/iter")

        assert caught.value.code == ("content-changed" if isinstance(error, ContentChanged) else "internal")
        assert "bug of ours" not in str(caught.value)
        assert server.get("/v1/health").status == 200


def test_16_a_connection_closed_at_a_chunks_end_is_an_error(served: Served) -> None:
    """By a FIN, which no socket reports. Cut at every chunk of a real answer."""
    handle = served.load("local/stories")
    connection = served.connect()
    headers = {**served.auth, "Accept": MEDIA_TYPE}
    connection.request("GET", f"/v1/datasets/{handle}/iter?batch_bytes=4096", headers=headers)
    answer = connection.getresponse()
    chunks = []
    while chunk := answer.read1(1 << 20):
        chunks.append(chunk)
    connection.close()
    assert len(chunks) > 5

    for count in range(len(chunks)):
        with pytest.raises(BrokenStream):
            list(FrameReader(_Body(chunks[:count])))


class _Body:
    """The body of an answer that ends after these chunks, without a word."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._left = b"".join(chunks)

    def read(self, amount: int) -> bytes:
        taken, self._left = self._left[:amount], self._left[amount:]
        return taken


def test_17_readers_of_one_handle_have_no_cursor_in_common(served: Served) -> None:
    """A second reader started where the first one stopped."""
    handle = served.load("local/stories")

    def read(number: int) -> list[int]:
        query = f"?seed={number % 3}&position={number * 10}&limit=300" if number % 2 else "?limit=300"
        rows: list[int] = served.arrow(handle, query)["number"].to_pylist()
        return rows

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, range(16)))

    assert together == [read(number) for number in range(16)]
    assert together[0] == together[2] == list(range(300))


def test_18_a_load_that_takes_long_holds_up_nobody(tmp_path: Path, stories: Path) -> None:
    """Nor do two; and equal loads that come meanwhile are one."""
    (tmp_path / "slow").mkdir()
    go, loads = threading.Event(), []

    def load(wanted: Wanted) -> Rows:
        loads.append(wanted.location)
        if wanted.location.endswith("slow"):
            assert go.wait(30)
        return loading.load(
            Wanted(**{**{name: getattr(wanted, name) for name in Wanted.__slots__}, "location": str(stories)})
        )

    local = {"stories": str(stories), "slow": str(tmp_path / "slow")}
    with Served(tmp_path / "home", load, local=local) as server, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(server.load, "local/slow") for _ in range(3)]
        wait_until(lambda: server.get("/v1/stats").json["loading"] == 1)

        handle = server.load("local/stories")
        assert server.arrow(handle).num_rows == ROWS
        go.set()

        assert len({one.result() for one in waiting}) == 1
        assert sorted(loads) == sorted([str(tmp_path / "slow"), str(stories)])


def test_18_a_load_that_fails_fails_for_all_who_wait_and_may_be_tried_again(tmp_path: Path, stories: Path) -> None:
    outcomes: list[Exception | None] = [OSError("the disk"), None]

    def load(wanted: Wanted) -> Rows:
        error = outcomes.pop(0)
        if error is not None:
            raise error
        return loading.load(wanted)

    with Served(tmp_path / "home", load, local={"stories": str(stories)}) as server:
        assert server.ask("POST", "/v1/load", {"path": "local/stories"}).status == 500
        assert server.load("local/stories")


def test_18_whether_downloads_are_allowed_is_settled_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by each load, in an environment that all threads share."""
    for name in ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    loading.offline(True)
    assert "HF_DATASETS_OFFLINE" not in os.environ

    loading.offline(False)

    assert os.environ["HF_DATASETS_OFFLINE"] == os.environ["HF_HUB_OFFLINE"] == "1"
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "")  # undone with the rest
    monkeypatch.setenv("HF_HUB_OFFLINE", "")


def test_19_rows_travel_in_batches_of_about_the_size_asked_for(served: Served) -> None:
    """One row a chunk and a thread's hop for each was what held the predecessor to 6,000 a second."""
    handle = served.load("local/stories")
    sizes = []
    for batch_bytes in (4096, 1 << 20):
        connection = served.connect()
        headers = {**served.auth, "Accept": MEDIA_TYPE}
        connection.request("GET", f"/v1/datasets/{handle}/iter?seed=1&batch_bytes={batch_bytes}", headers=headers)
        sizes.append([batch.num_rows for _, batch in FrameReader(connection.getresponse())])
        connection.close()

    small, large = sizes
    assert len(small) > 2 * len(large)
    assert min(small) > 1 and sum(small) == sum(large) == ROWS


def test_20_what_was_not_read_for_longest_is_closed_when_too_many_are_open(tmp_path: Path) -> None:
    """A server that runs for months must not hold all it was ever asked for."""
    local = {}
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "x.arrow", table(10))
        local[name] = str(tmp_path / name)

    with Served(tmp_path / "home", local=local, max_handles=2) as server:
        first, second = server.load("local/a"), server.load("local/b")
        server.get(f"/v1/datasets/{first}/length")
        third = server.load("local/c")

        open_ = [one["handle"] for one in server.get("/v1/datasets").json["handles"]]
        assert sorted(open_) == sorted([first, third])
        assert server.arrow(second).num_rows == 10  # its handle still means the same: it is opened again


def test_20_mapped_bytes_are_limited_and_what_is_read_stays(tmp_path: Path, stories: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "x.arrow", table(10))
    local = {"a": str(stories), "b": str(tmp_path / "b")}

    with Served(tmp_path / "home", local=local, max_mapped_gb=1e-9) as server:
        first = server.load("local/a")
        second = server.load("local/b")

        assert [one["handle"] for one in server.get("/v1/datasets").json["handles"]] == [second]
        assert server.arrow(first).num_rows == ROWS


def test_20_an_unloaded_data_set_is_given_back_when_its_last_reader_leaves(tmp_path: Path, stories: Path) -> None:
    closed = threading.Event()

    class Closing(Failing):
        def close(self) -> None:
            closed.set()

    load = lambda wanted: Closing(loading.load(wanted), ROWS + 1, ValueError())  # noqa: E731
    with Served(tmp_path / "home", load, local={"stories": str(stories)}) as server:
        handle = server.load("local/stories")
        connection = server.connect()
        headers = {**server.auth, "Accept": MEDIA_TYPE}
        connection.request("GET", f"/v1/datasets/{handle}/iter", headers=headers)
        reader = FrameReader(connection.getresponse())
        next(iter(reader))

        server.ask("DELETE", f"/v1/datasets/{handle}")
        assert sum(batch.num_rows for _, batch in reader) > 0
        connection.close()

        wait_until(closed.is_set)


def test_20_the_cache_is_listed_without_holding_up_others(served: Served, tmp_path: Path) -> None:
    from forgather_spool.dataset_server import hf_cache

    made = tmp_path / "hf" / "allenai___c4" / "en" / "0.0.0" / "abc"
    made.mkdir(parents=True)
    (made / "dataset_info.json").write_text(json.dumps({"splits": {"train": {"num_examples": 7, "num_bytes": 70}}}))
    (made / "data.arrow").write_bytes(b"x" * 100)
    (tmp_path / "hf" / "broken___x" / "en" / "0.0.0" / "abc").mkdir(parents=True)
    (tmp_path / "hf" / "broken___x" / "en" / "0.0.0" / "abc" / "dataset_info.json").write_text("{")

    found = hf_cache.look(str(tmp_path / "hf"))

    (config,) = found["datasets"][0]["configs"]  # type: ignore[index]
    assert (found["datasets"][0]["repo"], len(found["datasets"])) == ("allenai/c4", 1)  # type: ignore[index, arg-type]
    assert config["splits"] == [{"name": "train", "num_examples": 7, "num_bytes": 70}]
    assert served.get("/v1/cache/hf").json["datasets"] == []


RICH = {
    "bytes": [b"\0\xff", b"", None],
    "nan": [math.nan, math.inf, -math.inf],
    "when": pa.array([datetime(2019, 4, 25, 12, 57, 54, 7), datetime(1, 1, 1), None], pa.timestamp("us")),
    "second": pa.array([datetime(2019, 4, 25, 12, 57, 54), None, datetime(1960, 1, 1)], pa.timestamp("s")),
    "nano": pa.array([1, 1_000, None], pa.timestamp("ns")),
    "zone": pa.array([datetime(2019, 4, 25, tzinfo=UTC), None, None], pa.timestamp("us", "Europe/Berlin")),
    "day": [date(2019, 4, 25), None, date(1900, 1, 1)],
    "clock": [time(1, 2, 3), None, time(23, 59, 59, 999999)],
    "span": [timedelta(seconds=1.5), None, timedelta(days=-1)],
    "money": [Decimal("1.10"), None, Decimal("-3.00")],
    "big": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "half": pa.array([0.5, None, -2], pa.float16()),
    "image": [{"bytes": b"\x89PNG", "path": None}, None, {"bytes": None, "path": "a.png"}],
    "nested": [[{"a": [1, None]}, None], [], None],
    "fixed": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2)),
    "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    "word": pa.array(["x", None, "x"]).dictionary_encode(),
    "null": pa.nulls(3),
    "text": ['"\\\n\0\u2028', "\U0001f600", None],
    "float_lists": [[1.5, math.nan], [], None],
}


@pytest.fixture
def rich(tmp_path: Path, cache: None) -> Iterator[tuple[Served, str, Any]]:
    data = pa.table(RICH)
    (tmp_path / "rich").mkdir()
    write(tmp_path / "rich" / "x.arrow", data)
    with Served(tmp_path / "home", local={"rich": str(tmp_path / "rich")}) as server:
        yield server, server.load("local/rich"), data


def test_22_every_type_and_value_survives_arrow(rich: tuple[Served, str, Any]) -> None:
    """The predecessor kept 12 of 20 columns."""
    server, handle, data = rich
    got = server.arrow(handle, "?seed=1")

    assert got.schema == data.schema
    assert sorted(map(repr, got.to_pylist())) == sorted(map(repr, data.to_pylist()))


def test_22_every_value_is_valid_json_and_can_be_told_from_any_other(rich: tuple[Served, str, Any]) -> None:
    """NaN is no JSON, and null would be another value."""
    server, handle, _ = rich

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    body = server.get(f"/v1/datasets/{handle}/iter").body
    first, second, third = (json.loads(line, parse_constant=no_constant) for line in body.splitlines())

    assert first == {
        "bytes": {"__bytes_b64__": "AP8="},
        "nan": {"__float__": "nan"},
        "when": "2019-04-25T12:57:54.000007",
        "second": "2019-04-25T12:57:54",
        "nano": "1970-01-01T00:00:00.000000001",
        "zone": "2019-04-25T02:00:00+02:00",
        "day": "2019-04-25",
        "clock": "01:02:03",
        "span": 1.5,
        "money": "1.10",
        "big": 2**64 - 1,
        "half": 0.5,
        "image": {"bytes": {"__bytes_b64__": "iVBORw=="}, "path": None},
        "nested": [{"a": [1, None]}, None],
        "fixed": [1, 2],
        "map": [["k", 1]],
        "word": "x",
        "null": None,
        "text": '"\\\n\0\u2028',
        "float_lists": [1.5, {"__float__": "nan"}],
    }
    assert second["when"] == "0001-01-01T00:00:00" and second["nano"] == "1970-01-01T00:00:00.000001"
    assert third["nan"] == {"__float__": "-inf"} and third["fixed"] == [3, 4] and third["word"] == "x"


def test_22_a_client_that_knows_the_tag_has_the_floats_again(rich: tuple[Served, str, Any]) -> None:
    """With the standard library, as the predecessor's client reads lines: it takes a bare NaN, and never gets one."""
    server, handle, data = rich

    def untagged(found: dict[str, Any]) -> Any:
        return float(found["__float__"]) if found.keys() == {"__float__"} else found

    def never(word: str) -> None:
        raise AssertionError(word)

    lines = server.get(f"/v1/datasets/{handle}/iter").body.splitlines()
    found = [json.loads(line, object_hook=untagged, parse_constant=never)["nan"] for line in lines]

    assert [str(value) for value in found] == [str(value) for value in data.column("nan").to_pylist()]


def test_22_a_column_called_as_a_tag_is_not_sent_as_json(tmp_path: Path) -> None:
    """A row with the one key __bytes_b64__ was decoded as bytes."""
    for place, data in enumerate([pa.table({"__bytes_b64__": ["x"]}), pa.table({"a": [{"__float__": "nan"}]})]):
        folder = tmp_path / str(place)
        folder.mkdir()
        write(folder / "x.arrow", data)
        with Served(tmp_path / "home", local={"odd": str(folder)}) as server:
            handle = server.load("local/odd")

            assert server.get(f"/v1/datasets/{handle}/iter").status == 406
            assert server.arrow(handle).equals(data)


def test_23_a_fingerprint_is_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    """Names and paths say nothing: copies are equal, and a changed file is another data set."""
    local = {}
    for name, data in (("a", table(50)), ("b", table(50)), ("c", table(51))):
        (tmp_path / name).mkdir()
        write(tmp_path / name / f"{name}.arrow", data)
        local[name] = str(tmp_path / name)

    with Served(tmp_path / "home", local=local) as server:
        prints = {name: server.ask("POST", "/v1/load", {"path": f"local/{name}"}).json["fingerprint"] for name in local}

    assert prints["a"] == prints["b"] != prints["c"]


def test_27_descriptors_and_memory_stay_as_they_are(served: Served) -> None:
    """A leak for each request or each broken stream ends a server after days."""
    handle = served.load("local/stories")

    def use() -> None:
        for _ in range(10):
            served.arrow(handle, "?seed=1&codec=zstd")
            served.get("/v1/datasets/none")
            connection = served.connect()
            connection.request("GET", f"/v1/datasets/{handle}/iter", headers=served.auth)
            connection.getresponse().read(100)
            connection.close()

    use()
    wait_until(lambda: served.get("/v1/stats").json["streams"] == 0)
    before = len(os.listdir("/proc/self/fd"))
    use()
    wait_until(lambda: served.get("/v1/stats").json["streams"] == 0)

    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
