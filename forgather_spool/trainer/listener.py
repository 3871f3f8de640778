"""Rank 0's ear and mouth: a thread that reads the mailbox, answers, and says where the run is.

It writes jobs/<job_id>/{endpoint.json, auth_token, status.json} and removes
the first two at a clean end. Garbage in the mailbox is answered `refused` and
left there. The training loop never waits for anything here. A run of the same
id that died before us has its commands answered when we start.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
import time
from collections import deque

from forgather_spool import schema
from forgather_spool.errors import BadDocument, Busy, ForgatherError, StorageFailed, UnreadableFile
from forgather_spool.host import proc
from forgather_spool.spool import files
from forgather_spool.spool.mailbox import Mailbox, read_endpoint
from forgather_spool.spool.paths import Paths, default_home
from forgather_spool.spool.queue import Spool, utc_now
from forgather_spool.spool.watch import CREATED, Watch
from forgather_spool.trainer.warn import warn_once
from forgather_spool.trainers import look_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Run(Protocol):
        """What a listener needs to know of the training."""

        job_id: str
        attempt: int

        def knows(self, command: str) -> bool:
            """Whether it can carry out `command`."""

        def status(self) -> dict[str, Any]:
            """Where it is, as ``status.json`` holds it."""


STATUS_S = 0.5  # status.json is at most this old while steps pass
LOOK_S = 1.0  # look at the mailbox this often by itself: inotify is silent on NFS


class Listener:
    """Owned by rank 0's TrainerControl. Raises what keeps it from starting."""

    def __init__(
        self,
        run: Run,
        propose: Callable[[list[dict[str, Any]]], None],
        home: str | None,
        output_dir: str | None,
        logging_dir: str | None,
        http: tuple[bool | None, str, int | None],
    ) -> None:
        self._training = run
        self._propose = propose
        self._paths = Paths(home or default_home())
        Spool(self._paths.home).create()
        self._mailbox = Mailbox(self._paths, run.job_id, run.attempt)
        self._mailbox.create()
        self._require_free_id()
        self._answers: deque[tuple[str, str, dict[str, Any]]] = deque()
        self._in_hand: set[str] = set()
        self._told: object = None
        self._wake_end, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watch = Watch()
        self._watch.add(self._mailbox.folder, CREATED)
        self._leaving = threading.Event()
        self._owner_pid = os.getpid()
        self.token = self._write_token()
        self._http = self._start_http(*http)
        try:
            self._endpoint = self._write_endpoint(http[1], output_dir, logging_dir)
        except BaseException:  # Ctrl-C too: nobody has us yet, so nobody would close it
            self._close_http()
            raise
        self._thread = threading.Thread(target=self._run, name="forgather-control", daemon=True)
        self._thread.start()

    def answer(self, command_id: str, outcome: str, facts: dict[str, Any]) -> None:
        """Acknowledge, soon and not in this thread."""
        self._answers.append((command_id, outcome, facts))
        self._poke()

    def close(self, reason: str) -> None:
        """Write what is still to be answered, refuse the rest with `reason`, remove the endpoint."""
        if os.getpid() != self._owner_pid:
            return  # a forked child: the run is its parent's
        self._leaving.set()
        self._poke()
        self._thread.join(timeout=10.0)
        try:
            self._write_answers()
            for command_id in self._mailbox.pending():
                self._mailbox.acknowledge(command_id, "refused", by=self._name(), reason=reason)
            self._write_status()
            self._remove_endpoint()
        except (ForgatherError, OSError) as error:
            warn_once(f"trainer control did not end cleanly: {error}")
        self._close_http()  # after the answers: who waits there takes its own along
        self._watch.close()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._wake_end, select.POLLIN)
        poll.register(self._watch.fileno(), select.POLLIN)
        look_at = 0.0
        while not self._leaving.is_set():
            try:
                heard = bool(self._watch.read())
                if heard or time.monotonic() >= look_at:
                    self._take_commands()
                    look_at = time.monotonic() + LOOK_S
                self._write_answers()
                self._write_status()
            except Exception as error:  # a thread that ended would leave every later command without an answer
                warn_once(f"trainer control has trouble: {error}")
            poll.poll(STATUS_S * 1000)
            self._drain()

    def _take_commands(self) -> None:
        batch = []
        for command_id in self._mailbox.pending():
            if command_id in self._in_hand:
                continue
            self._in_hand.add(command_id)
            command = self._accept(command_id)
            if command is not None:
                batch.append(command)
        if batch:
            self._propose(batch)

    def _accept(self, command_id: str) -> dict[str, Any] | None:
        """The command to propose; None: it was refused, and answered so."""
        try:
            command: dict[str, Any] = self._mailbox.read(command_id)
            late_at_unix_s = _unix_s(command["deadline_at"])
        except FileNotFoundError:
            return None
        except StorageFailed:
            self._in_hand.discard(command_id)  # read again at the next look
            return None
        except (BadDocument, UnreadableFile) as error:
            self._refuse(command_id, f"the command cannot be read: {error}")
            return None
        name = command["command"]
        if not self._training.knows(name):
            self._refuse(command_id, f"this trainer does not know the command {name!r}")
        elif late_at_unix_s is not None and late_at_unix_s < time.time():
            self._refuse(command_id, f"it came too late: its deadline was {command['deadline_at']}")
        else:
            return {"id": command_id, "command": name, "args": command["args"], "late_at_unix_s": late_at_unix_s}
        return None

    def _refuse(self, command_id: str, reason: str) -> None:
        self._answers.append((command_id, "refused", {"reason": reason}))

    def _write_answers(self) -> None:
        """Each once; what a full disk refuses stays to be tried again, and keeps no other back."""
        trouble = None
        for _ in range(len(self._answers)):
            command_id, outcome, facts = self._answers[0]
            try:
                self._write_answer(command_id, outcome, facts)
            except (ForgatherError, OSError) as error:
                trouble = error
                self._answers.rotate(-1)
            else:
                self._answers.popleft()
        if trouble is not None:
            raise trouble

    def _write_answer(self, command_id: str, outcome: str, facts: dict[str, Any]) -> None:
        try:
            self._mailbox.acknowledge(command_id, outcome, by=self._name(), **facts)
        except BadDocument as error:
            facts = facts | {"data": None, "reason": f"it was {outcome}, but what it returned is no JSON: {error}"}
            self._mailbox.acknowledge(command_id, "failed", by=self._name(), **facts)

    def _write_status(self) -> None:
        status = self._training.status()
        if status != self._told:
            path = self._paths.status(self._training.job_id, self._training.attempt)
            files.note(path, status | {"updated_at": utc_now()}, self._paths.tmp)
            self._told = status

    def _poke(self) -> None:
        try:
            os.write(self._wake, b"!")
        except BlockingIOError:
            return  # woken already

    def _drain(self) -> None:
        try:
            os.read(self._wake_end, 4096)
        except BlockingIOError:
            return

    def _name(self) -> str:
        return f"trainer {os.getpid()} on {proc.host_name()}"

    def _remove_endpoint(self) -> None:
        """Ours only: a later run of this id may have written its own."""
        try:
            if read_endpoint(self._mailbox) != self._endpoint:
                return
        except FileNotFoundError:
            return
        files.discard(self._paths.endpoint(self._training.job_id, self._training.attempt))
        files.discard(self._paths.auth_token(self._training.job_id, self._training.attempt))

    def _close_http(self) -> None:
        if self._http is not None:
            self._http.close()

    # -- starting ---------------------------------------------------------------------------------------------------

    def _require_free_id(self) -> None:
        try:
            other = look_after(self._mailbox)
        except (FileNotFoundError, BadDocument, UnreadableFile):
            return
        if other.alive and other.pid != os.getpid():
            raise Busy(f"the job id {other.job_id} is taken by a running trainer, pid {other.pid}")

    def _write_token(self) -> str:
        token = secrets.token_hex(32)
        path = self._paths.auth_token(self._training.job_id, self._training.attempt)
        files.discard(path)
        files.write_bytes_once(path, token.encode() + b"\n", self._paths.tmp)
        return token

    def _start_http(self, enabled: bool | None, host: str, port: int | None) -> Any:
        if enabled is False:
            return None
        try:
            from forgather_spool.endpoint.server import EndpointServer

            knows = self._training.knows
            return EndpointServer(self._paths, self._training.job_id, self.token, host=host, port=port, knows=knows)
        except ImportError as error:
            if enabled:
                warn_once(f"no HTTP endpoint ({error}); commands by file work: pip install 'forgather-spool[http]'")
        except Exception as error:  # aiohttp, a port, TLS: a face that is optional must not end a training
            warn_once(f"no HTTP endpoint: {error}; commands by file work")
        return None

    def _write_endpoint(self, host: str, output_dir: str | None, logging_dir: str | None) -> dict[str, Any]:
        pid = os.getpid()
        document: dict[str, Any] = {
            "version": schema.VERSION,
            "job_id": self._training.job_id,
            "host": host,
            "port": None if self._http is None else self._http.port,
            "pid": pid,
            "start_ticks": proc.start_ticks(pid),
            "boot_id": proc.boot_id(),
            "hostname": proc.host_name(),
            "started_at": utc_now(),
            "output_dir": None if output_dir is None else os.path.abspath(output_dir),
            "logging_dir": None if logging_dir is None else os.path.abspath(logging_dir),
        }
        files.replace(self._paths.endpoint(self._training.job_id, self._training.attempt), document, self._paths.tmp)
        return document


def _unix_s(at: str | None) -> float | None:
    """Raises BadDocument."""
    if at is None:
        return None
    from forgather_spool.job import parse_at

    return parse_at(at, "$.deadline_at").timestamp()
