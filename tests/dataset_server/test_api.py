"""The API as clients meet it: routes, JSON, streams of both forms."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from forgather_spool.dataset.order import Order, Shuffle, Window
from forgather_spool.dataset_server.api import wants_arrow
from tests.dataset_server.conftest import ROWS, table, write
from tests.dataset_server.serving import Served


def rows_of(order: Order) -> list[int]:
    rows: list[int] = order.rows(0, len(order)).tolist()
    return rows


def test_health_and_whether_a_token_is_asked_for_are_open(served: Served) -> None:
    """What the predecessor told, under the same names."""
    health = served.ask("GET", "/v1/health", headers={"Authorization": ""}).json

    assert (health["status"], health["service"]) == ("ok", "forgather-dataset-server")
    assert health["policy"] == {
        "auth_required": True,
        "hf_cache_enabled": True,
        "allow_paths": False,
        "allow_downloads": False,
        "local_count": 1,
    }
    assert served.ask("GET", "/v1/auth/status", headers={"Authorization": ""}).json == {"auth_required": True}


def test_a_load_gives_a_handle_that_is_the_same_next_time(served: Served) -> None:
    first = served.ask("POST", "/v1/load", {"path": "local/stories"}).json
    again = served.ask("POST", "/v1/load", {"path": "local/stories", "name": None}).json

    assert first == again
    assert (first["length"], first["source"], first["load_args"]) == (ROWS, "local", {"path": "local/stories"})
    assert served.get("/v1/datasets").json["handles"] == [first]
    assert served.get(f"/v1/datasets/{first['handle']}/length").json == {"length": ROWS}
    assert served.get(f"/v1/datasets/{first['handle']}").json["columns"][1] == {"name": "number", "type": "int64"}


def test_json_lines_are_what_comes_unless_arrow_is_asked_for(served: Served) -> None:
    handle = served.load("local/stories")

    answer = served.get(f"/v1/datasets/{handle}/iter?position=990&limit=3")

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.lines == table().slice(990, 3).to_pylist()


def test_arrow_gives_the_same_rows_with_their_types(served: Served) -> None:
    handle = served.load("local/stories")

    assert served.arrow(handle).equals(table())


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("seed=7", Order(ROWS).then(Shuffle(7))),
        ("seed=7&epoch=3", Order(ROWS).then(Shuffle(7, 3))),
        ("seed=7&order=window", Order(ROWS).then(Window(7))),
        ("order=rows:100-900/feistel6-v1:7.2", Order(ROWS).then(Shuffle(7, 2))),
    ],
)
def test_both_forms_come_in_the_order_asked_for(served: Served, query: str, order: Order) -> None:
    """The order that dataset/order.py has for local reading."""
    handle = served.load("local/stories")

    lines = [row["number"] for row in served.get(f"/v1/datasets/{handle}/iter?{query}").lines]

    arrow = served.arrow(handle, f"?{query}")["number"].to_pylist()
    assert lines == arrow
    if "rows:" not in query:
        assert arrow == rows_of(order)
    assert len(set(arrow)) == len(arrow) == (800 if "rows:" in query else ROWS)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shards_are_equally_long_and_together_the_order(served: Served, count: int) -> None:
    handle = served.load("local/stories")
    order = rows_of(Order(ROWS).then(Shuffle(1)))

    shards = [served.arrow(handle, f"?seed=1&shard={i}/{count}")["number"].to_pylist() for i in range(count)]

    assert {len(shard) for shard in shards} == {ROWS // count}
    assert np.array(shards).T.reshape(-1).tolist() == order[: ROWS - ROWS % count]


def test_a_shard_goes_on_from_any_position_of_the_whole_order(served: Served) -> None:
    """Whatever the number of shards was before."""
    handle = served.load("local/stories")
    order = rows_of(Order(ROWS).then(Shuffle(1)))

    for index in range(3):
        got = served.arrow(handle, f"?seed=1&shard={index}/3&position=500")["number"].to_pylist()
        assert got == [order[at] for at in range(500, 999) if at % 3 == index]


def test_columns_come_as_asked_for(served: Served) -> None:
    handle = served.load("local/stories")

    assert served.arrow(handle, "?columns=number,text&limit=5").column_names == ["number", "text"]
    assert served.get(f"/v1/datasets/{handle}/iter?columns=number&limit=2").lines == [{"number": 0}, {"number": 1}]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_streams_hold_the_same(served: Served, codec: str) -> None:
    handle = served.load("local/stories")

    assert served.arrow(handle, f"?seed=3&codec={codec}").equals(served.arrow(handle, "?seed=3"))


def test_a_position_past_the_end_is_an_empty_stream(served: Served) -> None:
    handle = served.load("local/stories")

    assert served.arrow(handle, "?position=5000").num_rows == 0
    assert served.get(f"/v1/datasets/{handle}/iter?position=5000").body == b""


def test_frames_say_that_json_lines_are_complete(served: Served) -> None:
    handle = served.load("local/stories")
    fingerprint = served.get(f"/v1/datasets/{handle}").json["fingerprint"]

    last = served.get(f"/v1/datasets/{handle}/iter?limit=9&frames=1").lines[-1]

    assert last == {"_end": {"rows": 9, "fingerprint": fingerprint}}


@pytest.mark.parametrize(
    "query",
    [
        "seeds=1", "seed=1&seed=2", "seed=x", "position=-1", "position=1.5", "limit=1e3", "epoch=1", "order=window",
        "order=random", "order=all&seed=1", "shard=3/3", "shard=1", "walk=0:5:1:1:1&limit=3", "walk=0:2000:1:1:1",
        "columns=nothing", "columns=text,text", "codec=gzip", "batch_bytes=1", "frames=yes", "seed=" + "9" * 30, "=",
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_meant_is_refused(served: Served, query: str) -> None:
    """A misspelled key would silently give other data."""
    handle = served.load("local/stories")

    answer = served.get(f"/v1/datasets/{handle}/iter?{query}")

    assert answer.status == 400
    assert set(answer.json) == {"error"}


def test_another_content_than_expected_is_refused_before_any_row(served: Served) -> None:
    handle = served.load("local/stories")
    tag = served.get(f"/v1/datasets/{handle}/iter?limit=0").headers["ETag"]

    assert served.get(f"/v1/datasets/{handle}/iter?limit=1", **{"If-Match": tag}).status == 200
    assert served.get(f"/v1/datasets/{handle}/iter?limit=1", **{"If-Match": '"w1-other"'}).status == 412


def test_errors_of_every_kind_have_one_form(served: Served) -> None:
    """The predecessor's 422 bodies were others than its 400s (fault 25)."""
    asked = [
        ("GET", "/v1/nothing", None),
        ("PUT", "/v1/load", None),
        ("POST", "/v1/load", b"{"),
        ("POST", "/v1/load", b"[]"),
        ("POST", "/v1/load", {}),
        ("POST", "/v1/load", {"path": 5}),
        ("GET", "/v1/datasets/0000000000000000", None),
        ("GET", "/v1/datasets/%2e%2e%2fhealth/iter", None),
    ]

    answers = [served.ask(*words) for words in asked]

    assert [answer.status for answer in answers] == [404, 405, 400, 400, 400, 400, 404, 404]
    assert all(set(answer.json) == {"error"} for answer in answers)


def test_what_json_cannot_tell_is_said_in_json(served: Served, stories: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Arrow takes a NUL in a column's name; of this and of types without a form in JSON no stream is begun."""
    write(stories / "test.arrow", pa.table({"a\0b": [1]}))
    write(stories / "validation.arrow", pa.table({"n": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}))

    named = served.ask("POST", "/v1/load", {"path": "local/stories", "split": "test"})
    handle = served.load("local/stories", split="validation")

    assert (named.status, "NUL" in named.json["error"]) == (500, True)
    assert served.get(f"/v1/datasets/{handle}/iter").status == 406
    assert served.arrow(handle).num_rows == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_a_compressed_body_is_refused_for_what_it_is(served: Served) -> None:
    answer = served.ask("POST", "/v1/load", {"path": "local/stories"}, headers={"Content-Encoding": "gzip"})

    assert (answer.status, answer.json["error"]) == (415, "the body must not be compressed")


def test_who_waits_to_be_asked_for_the_body_is_asked(served: Served) -> None:
    """Expect: 100-continue (RFC 9110, 10.1.1): some clients send no body before, and the request timed out."""
    body = b'{"path": "local/stories"}'
    head = f"POST /v1/load HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.token}\r\n"
    with socket.create_connection(("127.0.0.1", served.listening.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        asked = connection.recv(100)
        connection.sendall(body)
        answer = connection.recv(4096)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200")


def test_what_there_is_to_choose_from_is_told(served: Served) -> None:
    answer = served.ask("POST", "/v1/load", {"path": "local/stories", "split": "test"})

    assert (answer.status, "there is train" in answer.json["error"]) == (404, True)


def test_a_body_that_is_too_large_is_not_read_to_its_end(served: Served) -> None:
    connection = served.connect()
    connection.putrequest("POST", "/v1/load")
    connection.putheader("Content-Length", str(1 << 40))
    for key, value in served.auth.items():
        connection.putheader(key, value)
    connection.endheaders(b"x" * (65 * 1024))

    assert connection.getresponse().status == 413
    connection.close()


def test_an_unloaded_handle_is_gone_and_a_load_brings_it_back(served: Served) -> None:
    handle = served.load("local/stories")

    assert served.ask("DELETE", f"/v1/datasets/{handle}").json == {"unloaded": handle, "readers": 0}

    assert served.get(f"/v1/datasets/{handle}/length").status == 404
    assert served.ask("DELETE", f"/v1/datasets/{handle}").status == 404
    assert served.load("local/stories") == handle


def test_data_that_changed_on_disk_are_an_error_and_no_rows(served: Served, stories: Path) -> None:
    handle = served.load("local/stories")
    with open(stories / "a.arrow", "r+b") as file:
        file.seek(-200, 2)
        file.write(b"changed!")

    answer = served.get(f"/v1/datasets/{handle}/iter?limit=5")

    assert (answer.status, set(answer.json)) == (409, {"error"})
    assert served.load("local/stories") == handle  # as it is now


def test_one_connection_serves_many_requests(served: Served) -> None:
    connection = served.connect()
    handle = served.load("local/stories")
    for at in range(20):
        connection.request("GET", f"/v1/datasets/{handle}/iter?position={at}&limit=1", headers=served.auth)
        assert b'"number":%d' % at in connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("accepts", "arrow"),
    [
        ([], False),
        (["*/*"], False),
        (["application/vnd.apache.arrow.stream"], True),
        (["application/x-ndjson, application/vnd.apache.arrow.stream"], True),
        (["application/vnd.apache.arrow.stream;q=0.5, application/x-ndjson"], False),
        (["application/vnd.apache.arrow.stream;q=0"], False),
        (["text/html", "APPLICATION/VND.APACHE.ARROW.STREAM"], True),
        (["application/vnd.apache.arrow.stream;q=nan"], False),
    ],
)
def test_arrow_comes_when_it_is_named_and_not_worth_less(accepts: list[str], arrow: bool) -> None:
    assert wants_arrow(accepts) is arrow


def test_http_clients_of_the_last_century_are_served_too(served: Served) -> None:
    """HTTP/1.0 has no chunks: a body that ends with the connection cannot be told from one that was cut."""
    handle = served.load("local/stories")
    connection = served.connect()
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.request("GET", f"/v1/datasets/{handle}/iter?limit=3", headers={**served.auth, "Host": "localhost"})
    answer: http.client.HTTPResponse = connection.getresponse()

    assert answer.status == 505
    connection.close()
