"""Telling one target, once or (a webhook) a few times. Blocks; the caller has a deadline for it.

Each raises NotTold with a sentence; that the receiver has read it is nowhere
promised: sendmail and a webhook's server take it, and that is all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any

from forgather_spool import __version__
from forgather_spool.notify.target import Command, Desktop, Mail, Target, Webhook

WEBHOOK_TIMEOUT_S = 10.0  # for each of the connection and the answer
WEBHOOK_PAUSES_S = (0.0, 1.0, 5.0)  # before each try
SAID_BYTES = 300  # of what a command says when it fails
SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib:/sbin"
HOPELESS_BELOW = 500  # an answer that will not change by asking again, 429 and 408 apart


class NotTold(Exception):
    """Why not, in a sentence; `tries` says how often it was tried."""

    def __init__(self, problem: str, tries: int = 1) -> None:
        super().__init__(problem)
        self.tries = tries


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say: the job's JSON, and the same for people. `env` and `cwd` are for commands."""

    json: bytes
    subject: str
    body: str
    env: dict[str, str]
    cwd: str


def send(target: Target, what: Told, sleep: Callable[[float], None] = time.sleep) -> int:
    """Tell it; how many tries that took.

    Raises:
        NotTold: it could not be told.
    """
    match target:
        case Command(line):
            _run(["/bin/sh", "-c", line], what.json, what)
        case Mail(address):
            _mail(address, what)
        case Desktop():
            if shutil.which("notify-send", path=what.env.get("PATH")) is None:
                raise NotTold("notify-send is not installed (Debian: libnotify-bin)", tries=0)
            _run(["notify-send", "--app-name=forgather", "--", what.subject, what.body[:400]], b"", what)
        case Webhook(url):
            return _post(url, what.json, sleep)
    return 1


def _run(argv: list[str], stdin: bytes, what: Told) -> None:
    """Its own output goes nowhere, apart from the last of it when it fails. It stays in the caller's process group."""
    try:
        process = subprocess.Popen(
            argv, env=what.env, cwd=what.cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise NotTold(f"{argv[0]}: {error.strerror}") from None
    said, _ = process.communicate(stdin)  # one that reads no stdin is fine
    if process.returncode != 0:
        last = said[-SAID_BYTES:].decode("utf-8", "replace").strip().replace("\n", "; ")
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise NotTold(f"{how}: {last}" if last else how)


def _mail(address: str, what: Told) -> None:
    folders = what.env.get("PATH", os.defpath) + ":" + SENDMAIL_FOLDERS
    sendmail = shutil.which("sendmail", path=folders)
    if sendmail is None:
        raise NotTold("no sendmail on this machine", tries=0)
    mail = EmailMessage()
    mail["To"] = address
    mail["Subject"] = what.subject
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers
    mail.set_content(what.body)
    _run([sendmail, "-i", "--", address], mail.as_bytes(), what)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would follow a redirected POST with a GET and call it told."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: str, data: bytes, sleep: Callable[[float], None]) -> int:
    headers = {"Content-Type": "application/json", "User-Agent": f"forgather/{__version__}"}
    opener = urllib.request.build_opener(_NoRedirect)
    problem = ""
    for tries, pause_s in enumerate(WEBHOOK_PAUSES_S, 1):
        sleep(pause_s)
        try:
            request = urllib.request.Request(url, data=data, headers=headers, method="POST")
            with opener.open(request, timeout=WEBHOOK_TIMEOUT_S):
                return tries
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"the server answered {error.code}"
            if error.code < HOPELESS_BELOW and error.code not in (408, 429):
                raise NotTold(problem, tries) from None
        except (OSError, HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            problem = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    raise NotTold(problem, len(WEBHOOK_PAUSES_S))
