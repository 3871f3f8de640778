"""Other servers of the same rows, as programs: ``python -m benchmarks.dataset_peers KIND FILE...`` prints its port.

    unpaced     the files' bytes over a bare TCP connection, from their mapping: what this machine can carry at most
    socket      the same with what the system does to every connection, such as BBR's pacing
    flight      Arrow Flight, a record batch stream
    replay      the bytes of one file as an HTTP answer, in chunks, over a bare TCP connection
    fastapi     an example a chunk as JSON, from a synchronous generator: the predecessor's way

Each serves until it is killed.
"""

from __future__ import annotations

import json
import mmap
import socket
import sys
from collections.abc import Iterator
from typing import Any

PIECE = 640 << 10


def main() -> None:
    kind, files = sys.argv[1], sys.argv[2:]
    {"unpaced": _unpaced, "socket": _socket, "flight": _flight, "replay": _replay, "fastapi": _fastapi}[kind](files)


def _say(port: int) -> None:
    print(port, flush=True)


def _unpaced(files: list[str]) -> None:
    _socket(files, is_paced=False)


def _socket(files: list[str], *, is_paced: bool = True) -> None:
    maps = []
    for path in files:
        with open(path, "rb") as file:
            maps.append(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)))
    listening = socket.create_server(("127.0.0.1", 0))
    if not is_paced:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # as our server does
    _say(listening.getsockname()[1])
    while True:
        client, _ = listening.accept()
        with client:
            try:
                for whole in maps:
                    for start in range(0, len(whole), PIECE):
                        client.sendall(whole[start : start + PIECE])
            except OSError:
                continue


def _replay(files: list[str]) -> None:
    with open(files[0], "rb") as file:
        whole = memoryview(file.read())
    listening = socket.create_server(("127.0.0.1", 0))
    _say(listening.getsockname()[1])
    while True:
        client, _ = listening.accept()
        with client:
            try:
                client.recv(PIECE)
                client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
                for start in range(0, len(whole), PIECE):
                    piece = whole[start : start + PIECE]
                    client.sendall(b"".join((b"%x\r\n" % len(piece), piece, b"\r\n")))
                client.sendall(b"0\r\n\r\n")
            except OSError:
                continue


def _batches(files: list[str]) -> Iterator[Any]:
    import pyarrow as pa

    for path in files:
        with pa.memory_map(path) as source:
            yield from pa.ipc.open_stream(source)


def _flight(files: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.flight as flight

    with pa.memory_map(files[0]) as source:
        schema = pa.ipc.open_stream(source).schema

    class Server(flight.FlightServerBase):  # type: ignore[misc]
        def do_get(self, context: Any, ticket: Any) -> Any:
            return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(schema, _batches(files)))

    server = Server("grpc://127.0.0.1:0")
    _say(server.port)
    server.serve()


def _fastapi(files: list[str]) -> None:
    import fastapi
    import uvicorn
    from fastapi.responses import StreamingResponse

    application = fastapi.FastAPI()

    def rows() -> Any:
        return StreamingResponse(_lines(files), media_type="application/x-ndjson")

    application.add_api_route("/iter", rows)

    listening = socket.create_server(("127.0.0.1", 0))
    _say(listening.getsockname()[1])
    uvicorn.Server(uvicorn.Config(application, log_level="error")).run(sockets=[listening])


def _lines(files: list[str]) -> Iterator[bytes]:
    for batch in _batches(files):
        for row in batch.to_pylist():
            yield json.dumps(row, default=str).encode() + b"\n"


if __name__ == "__main__":
    main()
