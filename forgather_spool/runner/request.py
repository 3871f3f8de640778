"""What the dispatcher tells a waiting runner: run this attempt, with these cards, in this environment."""

from __future__ import annotations

from forgather_spool.document import Document, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HATCH = b"h"  # to the nursery, with the read end of a go-pipe and the write end of the over-pipe: a child, please
FD_BYTES = 4  # of a descriptor, as unix(7) passes it along
MAX_REQUEST_BYTES = 48 * 1024  # an empty pipe takes it at once, so telling a runner never blocks
NEXT_WITHIN_S = 5.0  # a runner whose job has ended waits so long for another, if its dispatcher may have one
OVER_BYTES = 4096  # PIPE_BUF: a line of at most this is written whole, whoever else writes; see pipe(7)
TOLD = b"\x05"  # after the request that comes through the go-pipe: make ready; no JSON holds this byte, nor the next
GO = b"\x06"  # after that: run it


class Request:
    """One attempt of one job. `env` is the host's share of the job's environment."""

    __slots__ = (
        "attempt",
        "cuda_visible_devices",
        "env",
        "gpus",
        "host",
        "job_id",
        "priority",
        "scope",
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

    @classmethod
    def from_bytes(cls, data: bytes) -> Request:
        """Raises BadDocument or KeyError: the two ends are of different versions."""
        return cls(parse(data))

    @property
    def entry(self) -> tuple[int, str]:
        """As the queue names it."""
        return -self.priority, self.job_id


def over(job_id: str, attempt: int) -> bytes:
    """What a runner writes to the over-pipe once nobody of its job is left, before it leaves the result."""
    return f"{job_id} {attempt}\n".encode()


def read_over(data: bytes) -> list[tuple[str, int]]:
    """The jobs and attempts that are over, by what came through the over-pipe."""
    words = (line.split(" ") for line in data.decode().splitlines())
    return [(job_id, int(attempt)) for job_id, attempt in words]
