"""Who is to be told, as a value: what `--notify` and the `notify` field of a spec spell. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from forgather_spool.errors import UsageError

FORMS = "command:LINE, mail:ADDRESS, https://..., desktop, or none"


@dataclass(frozen=True, slots=True)
class Command:
    """A line for `sh -c`; the job's JSON is its stdin."""

    line: str

    def __str__(self) -> str:
        return f"command:{self.line}"


@dataclass(frozen=True, slots=True)
class Mail:
    """A message through sendmail(8)."""

    address: str

    def __str__(self) -> str:
        return f"mail:{self.address}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST of the job's JSON."""

    url: str

    def __str__(self) -> str:
        """Without the path and the password: for most services they are the secret."""
        parts = urlsplit(self.url)
        place = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{place}{port}" + ("/..." if parts.path.strip("/") or parts.query else "")


@dataclass(frozen=True, slots=True)
class Desktop:
    """A bubble on this user's screen, by notify-send(1)."""

    def __str__(self) -> str:
        return "desktop"


Target = Command | Mail | Webhook | Desktop


def parse(text: str) -> Target | None:
    """The target `text` names; None for "none": nobody.

    Raises:
        UsageError: it names no kind of target, or one that cannot be reached so.
    """
    kind, colon, rest = text.partition(":")
    if text == "none":
        return None
    if text == "desktop":
        return Desktop()
    if kind == "command" and rest.strip():
        return Command(rest)
    if kind == "mail" and _is_address(rest):
        return Mail(rest)
    if kind in ("http", "https") and colon and _has_host(text):
        return Webhook(text)
    raise UsageError(f"{text!r} is nobody to tell", hint=FORMS)


def _is_address(text: str) -> bool:
    """Not a check of mail addresses: only what could become an option or a header of its own is out."""
    return bool(text) and text.isprintable() and not text.startswith("-") and not set(text) & set(" ,;<>\"'")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url and parts.port != 0
    except ValueError:
        return False
