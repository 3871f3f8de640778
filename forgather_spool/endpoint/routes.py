"""What the endpoint answers: the predecessor's routes and JSON, over one job's mailbox.

    POST /jobs/<job_id>/control                 {"command", "data"?, "wait_s"?}; also ?wait=SECONDS
    GET  /jobs/<job_id>/control/<command_id>    the acknowledgement, or 202 while there is none
    GET  /jobs/<job_id>/status                  flat: global_step, max_steps, epoch, each metric
    GET  /jobs                                  {"jobs": [endpoint document]}

Routes are found in this table and nowhere else: no path of a client ever
becomes a path of a file. Posts and reads, and decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from forgather_spool.command import COMMANDS, flat_status
from forgather_spool.document import Document, parse
from forgather_spool.errors import BadDocument, ForgatherError, StorageFailed
from forgather_spool.spool.mailbox import Mailbox, read_endpoint
from forgather_spool.spool.paths import Paths

MAX_WAIT_S = 600.0
LOOK_S = 0.1

Reply = tuple[int, Document]


class Routes:
    """One job's answers. `reply` may take as long as a client asked to wait; `leave` cuts that short."""

    def __init__(self, paths: Paths, job_id: str, knows: Callable[[str], bool] | None) -> None:
        self._mailbox = Mailbox(paths, job_id)
        self._paths = paths
        self._job_id = job_id
        self._knows = knows or COMMANDS.__contains__
        self._leaving = False

    def leave(self) -> None:
        """The run ends: who still waits gets what there is now."""
        self._leaving = True

    def methods_of(self, path: str) -> tuple[str, ...]:
        """The methods a path takes; none: there is no such path."""
        match path.split("/"):
            case ["", "jobs"]:
                return ("GET",)
            case ["", "jobs", self._job_id, "status"]:
                return ("GET",)
            case ["", "jobs", self._job_id, "control"]:
                return ("POST",)
            case ["", "jobs", self._job_id, "control", _]:
                return ("GET",)
        return ()

    async def reply(self, path: str, query: str, body: bytes) -> Reply:
        """To a path and method that `methods_of` named. File errors become a reply as well."""
        try:
            match path.split("/"):
                case ["", "jobs"]:
                    return 200, {"jobs": [self._endpoint()]}
                case [*_, "status"]:
                    return self._status()
                case [*_, "control"]:
                    return await self._post(query, body)
                case [*_, command_id]:
                    return self._acknowledgement(command_id)
        except StorageFailed as error:
            return 503, {"error": str(error)}
        except ForgatherError as error:
            return 500, {"error": str(error)}
        return 404, {"error": "no such path"}

    def _endpoint(self) -> Document:
        try:
            return read_endpoint(self._mailbox)
        except FileNotFoundError:
            return {"job_id": self._job_id}  # not written yet, or gone already

    def _status(self) -> Reply:
        status = self._mailbox.status()
        if status is None:
            return 503, {"error": "the trainer has not said anything yet"}
        return 200, flat_status(status)

    def _acknowledgement(self, command_id: str) -> Reply:
        answer = self._mailbox.acknowledgement(command_id)
        if answer is not None:
            return 200, {"command_id": command_id, **answer}
        if command_id in self._mailbox.pending():
            return 202, {"command_id": command_id, "status": "pending"}
        return 404, {"error": "no such command"}

    async def _post(self, query: str, body: bytes) -> Reply:
        try:
            asked = parse(body)
            name, args, wait_s = _command(asked), _data(asked), _wait_s(query, asked)
        except BadDocument as error:
            return 400, {"error": str(error), "valid_commands": sorted(COMMANDS)}
        if not self._knows(name):
            return 400, {"error": "this trainer knows no such command", "valid_commands": sorted(COMMANDS)}
        command_id = self._mailbox.post(name, by="its HTTP endpoint", args=args)
        reply: Document = {
            "status": "acknowledged",
            "command": name,
            "timestamp": time.time(),
            "message": f"{name} queued for execution",
            "command_id": command_id,
        }
        if wait_s > 0:
            reply["acknowledgement"] = await self._wait(command_id, wait_s)
        return 200, reply

    async def _wait(self, command_id: str, wait_s: float) -> Document | None:
        deadline = time.monotonic() + wait_s
        while (answer := self._mailbox.acknowledgement(command_id)) is None:
            if self._leaving or time.monotonic() >= deadline:
                break
            await asyncio.sleep(LOOK_S)
        return answer


def _command(asked: Document) -> str:
    name = asked.get("command")
    if not isinstance(name, str):
        raise BadDocument("$.command", "expected a string")
    return name


def _data(asked: Document) -> Document:
    data = asked.get("data")
    if data is not None and not isinstance(data, dict):
        raise BadDocument("$.data", "expected an object")
    return data or {}


def _wait_s(query: str, asked: Document) -> float:
    """From ``?wait=`` or ``wait_s``; 0: answer at once. Never longer than MAX_WAIT_S."""
    value: object = asked.get("wait_s", 0)
    try:
        if words := parse_qs(query, max_num_fields=8).get("wait"):
            value = words[-1]
        seconds = float(value) if isinstance(value, (str, int, float)) else -1.0
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # also what is no number
        raise BadDocument("$.wait_s", "expected a number of seconds")
    return min(seconds, MAX_WAIT_S)
