"""Limits: whoever floods, dawdles or leaves takes nothing from the others."""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from forgather_spool.dataset.frames import MEDIA_TYPE
from forgather_spool.dataset_server import serve, streams
from forgather_spool.dataset_server.memory import anonymous_bytes
from forgather_spool.tls.contexts import client_context
from forgather_spool.tls.store import default_store
from tests.dataset_server.conftest import write
from tests.dataset_server.serving import Served
from tests.waiting import wait_until

HALF_OPEN = 2000


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """20 MB: more than sockets buffer."""
    import pyarrow as pa

    folder = tmp_path / "large"
    folder.mkdir()
    write(folder / "x.arrow", pa.table({"text": ["x" * 10_000] * 2000}))
    return folder


def test_two_thousand_half_open_connections_keep_no_client_out(tmp_path: Path, stories: Path) -> None:
    """They say nothing, or half a request; the oldest of them go first."""
    serve._allow_many_files()
    with Served(tmp_path / "home", local={"stories": str(stories)}, max_connections=200) as server:
        silent = []
        for number in range(HALF_OPEN):
            silent.append(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            if number % 2:
                silent[-1].sendall(b"GET /v1/health HTTP/1.1\r\nHost: loc")

        handle = server.load("local/stories")
        assert server.arrow(handle).num_rows == 1000
        assert server.get("/v1/stats").json["connections"] <= 201
        for connection in silent:
            connection.close()


def test_a_connection_that_asks_nothing_is_closed(
    tmp_path: Path, stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "REQUEST_S", 0.2)
    with Served(tmp_path / "home") as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
        one.sendall(b"GET /v1/hea")

        assert one.recv(100) == b""


def test_a_client_that_takes_nothing_is_dropped_and_costs_little_memory(tmp_path: Path, large: Path) -> None:
    with Served(tmp_path / "home", local={"large": str(large)}, idle_timeout=1) as server:
        handle = server.load("local/large")
        wait_until(lambda: server.get("/v1/stats").json["streams"] == 0)
        before = anonymous_bytes()
        dawdling = []
        for _ in range(5):
            connection = server.connect()
            connection.request("GET", f"/v1/datasets/{handle}/iter", headers=server.auth)
            connection.getresponse().read(10)
            dawdling.append(connection)
        assert server.get("/v1/stats").json["streams"] == 5
        assert anonymous_bytes() - before < 5 * 8_000_000

        wait_until(lambda: server.get("/v1/stats").json["streams"] == 0)

        for connection in dawdling:
            connection.close()


def test_over_tls_a_client_that_takes_nothing_costs_little_memory_too(tmp_path: Path, large: Path) -> None:
    """Twenty of them, of 20 MB each: what is encrypted and not yet sent is a fraction of a batch."""
    default_store().init(["127.0.0.1"], authority_name="lab", force=False)
    with Served(tmp_path / "home", local={"large": str(large)}) as server:
        handle, context = server.load("local/large"), client_context()
        dawdling = [_unread(server, handle, context)]
        _until_settled(lambda: server.get("/v1/stats").json["rows"])
        before = anonymous_bytes()

        dawdling += [_unread(server, handle, context) for _ in range(20)]
        _until_settled(lambda: server.get("/v1/stats").json["rows"])

        assert server.get("/v1/stats").json["streams"] == 21
        assert anonymous_bytes() - before < 20 * 1_000_000
        for connection in dawdling:
            connection.close()


def test_over_tls_a_client_that_takes_nothing_is_dropped(tmp_path: Path, large: Path) -> None:
    default_store().init(["127.0.0.1"], authority_name="lab", force=False)
    with Served(tmp_path / "home", local={"large": str(large)}, idle_timeout=1) as server:
        connection = _unread(server, server.load("local/large"), client_context())
        assert server.get("/v1/stats").json["streams"] == 1

        wait_until(lambda: server.get("/v1/stats").json["streams"] == 0)
        connection.close()


def _unread(server: Served, handle: str, context: ssl.SSLContext) -> http.client.HTTPConnection:
    """A stream nothing is read of but its beginning."""
    connection = server.connect(context)
    headers = {**server.auth, "Accept": MEDIA_TYPE}
    connection.request("GET", f"/v1/datasets/{handle}/iter", headers=headers)
    connection.getresponse().read(10)
    return connection


def _until_settled(value: Callable[[], int]) -> None:
    """Until it no longer changes."""
    seen = [-1]

    def same() -> bool:
        seen.append(value())
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    wait_until(same)


def test_more_streams_than_allowed_are_told_to_come_again(tmp_path: Path, large: Path) -> None:
    with Served(tmp_path / "home", local={"large": str(large)}, max_streams=1) as server:
        handle = server.load("local/large")
        connection = server.connect()
        connection.request("GET", f"/v1/datasets/{handle}/iter", headers=server.auth)
        connection.getresponse().read(10)

        answer = server.get(f"/v1/datasets/{handle}/iter?limit=1")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        connection.close()

        wait_until(lambda: server.get(f"/v1/datasets/{handle}/iter?limit=1").status == 200)


def test_a_client_that_leaves_ends_its_stream(tmp_path: Path, large: Path) -> None:
    with Served(tmp_path / "home", local={"large": str(large)}) as server:
        handle = server.load("local/large")
        for query in ("", "?codec=zstd"):
            connection = server.connect()
            connection.request("GET", f"/v1/datasets/{handle}/iter{query}", headers=server.auth)
            connection.getresponse().read(10)
            connection.close()

            wait_until(lambda: server.get("/v1/stats").json["streams"] == 0)
        assert all(one["readers"] == 0 for one in server.get("/v1/datasets").json["handles"])


def test_a_body_that_does_not_come_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from forgather_spool.dataset_server import api

    monkeypatch.setattr(api, "BODY_S", 0.2)
    connection = served.connect()
    connection.putrequest("POST", "/v1/load")
    for key, value in {**served.auth, "Content-Length": "100"}.items():
        connection.putheader(key, value)
    connection.endheaders(b"{")

    assert connection.getresponse().status == 408
    connection.close()


def test_memory_is_told_as_what_is_ours_alone(served: Served) -> None:
    """Mapped data are page cache: counted as ours they look like a leak."""
    assert served.get("/v1/health").json["anonymous_bytes"] == pytest.approx(anonymous_bytes(), rel=0.2)
    assert served.get("/v1/stats").json["mapped_bytes"] == 0
    served.load("local/stories")
    assert served.get("/v1/stats").json["mapped_bytes"] > 0


def test_many_small_streams_count_their_rows(served: Served) -> None:
    handle = served.load("local/stories")
    for _ in range(5):
        served.arrow(handle, "?limit=10")

    assert served.get("/v1/stats").json["rows"] == 50


def test_status_tells_who_reads_what(tmp_path: Path, large: Path) -> None:
    """Each stream while it lasts: whose, of what, how much; and nothing of one that ended."""
    with Served(tmp_path / "home", local={"large": str(large)}) as server:
        handle = server.load("local/large")
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
            head = f"Host: localhost\r\nAuthorization: {server.auth['Authorization']}\r\n\r\n"
            one.sendall(f"GET /v1/datasets/{handle}/iter HTTP/1.1\r\n{head}".encode())
            wait_until(lambda: any(client["rows"] for client in server.get("/v1/stats").json["clients"]))

            (client,) = server.get("/v1/stats").json["clients"]
            assert client["client"] == f"127.0.0.1:{one.getsockname()[1]}"
            assert (client["handle"], client["path"]) == (handle, "local/large")
            assert client["bytes"] > client["rows"] > 0 < client["rows_per_s"]

        wait_until(lambda: server.get("/v1/stats").json["clients"] == [])


def test_a_batch_that_waits_for_the_disk_is_made_in_a_thread_and_calm_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others take of the processor counts for nothing: handing over for that cost a third of the speed."""
    used = iter([(0, 0.0), (0, 0.001), (0, 0.0), (1, 0.001), (1, 0.0), (1, 0.1)])

    def getrusage(who: int) -> SimpleNamespace:
        faults, system_s = next(used)
        return SimpleNamespace(ru_majflt=faults, ru_utime=1.0, ru_stime=system_s)

    monkeypatch.setattr(streams, "getrusage", getrusage)

    assert streams._next(lambda: (1, [])) == (1, [], False)
    assert streams._next(lambda: (2, [])) == (2, [], True)
    assert streams._next(lambda: (3, [])) == (3, [], True)


def test_a_client_that_leaves_takes_its_batch_with_it(tmp_path: Path, large: Path) -> None:
    """Without waiting for Python's collector: it comes by after thousands of things, however large they are."""
    with Served(tmp_path / "home", local={"large": str(large)}) as server:
        handle = server.load("local/large")
        gc.collect()
        of_others = [one for one in gc.get_objects() if isinstance(one, streams._Arrow)]
        gc.disable()
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
                head = (
                    f"Host: localhost\r\nAuthorization: {server.auth['Authorization']}\r\nAccept: {MEDIA_TYPE}\r\n\r\n"
                )
                one.sendall(f"GET /v1/datasets/{handle}/iter HTTP/1.1\r\n{head}".encode())
                wait_until(lambda: server.get("/v1/stats").json["streams"] == 1)
            wait_until(lambda: server.get("/v1/stats").json["streams"] == 0)

            left = [one for one in gc.get_objects() if isinstance(one, streams._Arrow)]
            assert [one for one in left if one not in of_others] == []
        finally:
            gc.enable()


def test_no_stream_has_arrow_import_pandas() -> None:
    """35 MB of a server's memory, and half a second in which nobody is served."""
    code = """if True:
        import sys, pyarrow as pa
        from forgather_spool.dataset.frames import FrameWriter
        from forgather_spool.dataset_server import ndjson
        batch = pa.RecordBatch.from_arrays([pa.nulls(1, pa.timestamp("s"))], names=["when"])
        assert "pandas" not in sys.modules
        writer = FrameWriter(batch.schema)
        writer.batch(0, batch), writer.end(1), ndjson.lines(batch)
        sys.exit("pandas" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_reads_rows_imports_no_pandas() -> None:
    """An array made of numpy's has Arrow import it: at the top of a module that was 23 MB of an idle server."""
    code = "import sys, forgather_spool.dataset.storage.stored; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_whose_arrow_converts_values_has_no_pandas_which_others_may_still_import() -> None:
    code = """if True:
        import sys, pyarrow as pa
        from forgather_spool.dataset_server.memory import leave_pandas_out
        leave_pandas_out()
        values = pa.array([[1, None], [2]])
        values.offsets.to_numpy(), values.flatten().is_valid().to_numpy(zero_copy_only=False)
        assert "pandas" not in sys.modules
        import pandas
        assert len(pa.table({"n": [1, 2]}).to_pandas()) == 2
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
