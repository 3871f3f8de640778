"""What the dispatcher tells a waiting runner: run this attempt, with these cards, in this environment."""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from forgather_spool.document import Document

HATCH = b"h"  # to the nursery, with the read end of a go-pipe and the write end of the over-pipe: a child, please
FD_BYTES = 4  # of a descriptor, as unix(7) passes it along
MAX_REQUEST_BYTES = 48 * 1024  # an empty pipe takes it at once, so telling a runner never blocks
NEXT_WITHIN_S = 5.0  # a runner whose job has ended waits so long for another, if its dispatcher may have one
OVER_BYTES = 4096  # PIPE_BUF: a line of at most this is written whole, whoever else writes; see pipe(7)
SIZE_BYTES = 4  # of the number a request begins with: how long the rest of it is
GO = b"\x06"  # after the request, with which it makes ready: run it


class Request:
    """One attempt of one job. `env` is the host's share of the job's environment.

    `spec` is the job's, checked, as it lies in running/; None: it is to be read there.
    """

    __slots__ = (
        "attempt",
        "cuda_visible_devices",
        "env",
        "gpus",
        "host",
        "job_id",
        "priority",
        "scope",
        "spec",
    )

    def __init__(self, document: dict[str, Any]) -> None:
        self.job_id: str = document["job_id"]
        self.priority: int = document["priority"]
        self.host: str = document["host"]
        self.attempt: int = document["attempt"]
        self.scope: str = document["scope"]
        self.env: dict[str, str] = document["env"]
        self.gpus: list[Document] = document["gpus"]
        self.cuda_visible_devices: str = document["cuda_visible_devices"] or ""
        self.spec: dict[str, Any] | None = document.get("spec")

    @classmethod
    def from_bytes(cls, said: bytes) -> Request:
        """Of a whole one; what follows it does not matter. Raises KeyError: the two ends are of different versions."""
        return cls(marshal.loads(said[SIZE_BYTES:]))

    @property
    def entry(self) -> tuple[int, str]:
        """As the queue names it."""
        return -self.priority, self.job_id


def spelled(document: Document) -> bytes:
    """What a runner is told. Too large a spec is left out: it lies in running/.

    Not as JSON: both ends are one program run by one interpreter, and with a short job every tenth of a ms counts.
    """
    data = marshal.dumps(document)
    if len(data) > MAX_REQUEST_BYTES and document.get("spec") is not None:
        data = marshal.dumps({**document, "spec": None})
    return len(data).to_bytes(SIZE_BYTES, "little") + data


def size_of(said: bytes) -> int | None:
    """How many of these bytes are the request. None: it has not come whole."""
    size = SIZE_BYTES + int.from_bytes(said[:SIZE_BYTES], "little")
    return size if SIZE_BYTES < size <= len(said) else None


def over(job_id: str, attempt: int) -> bytes:
    """What a runner writes to the over-pipe once nobody of its job is left, before it leaves the result."""
    return f"{job_id} {attempt}\n".encode()


def read_over(data: bytes) -> list[tuple[str, int]]:
    """The jobs and attempts that are over, by what came through the over-pipe."""
    words = (line.split(" ") for line in data.decode().splitlines())
    return [(job_id, int(attempt)) for job_id, attempt in words]
