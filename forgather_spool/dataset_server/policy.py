"""What a client may have loaded: decided from its words and the server's settings alone.

    local/<name>      a mapping of the operator's: always, by its name only
    /an/absolute/path --allow-paths
    anything else     a data set id of the Hugging Face hub: unless --no-hf; downloads only with --allow-downloads

Whether a path exists plays no part, so nobody can find out by asking, and an id
is never taken for a folder that happens to lie in the working directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from forgather_spool.dataset_server.settings import Settings

LOCAL = "local/"
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_NAME = re.compile(r"[^/\\\0-\x1f]{1,256}")
_REVISION = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._/-]{0,255}")
_SPLIT = re.compile(r"[A-Za-z0-9_.+\[\]:%\- ]{1,256}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
FIELDS = ("path", "name", "split", "data_files", "revision")


class Denied(Exception):
    """The request is answered with `status` and this text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One data set to load: what the client asked for (`asked`, as it is told to others) and where that lies."""

    asked: Mapping[str, object]
    source: str  # local, path, hf
    location: str  # a path of this host, or a hub id; never told to a client
    name: str | None
    split: str | None
    data_files: object
    revision: str | None
    confined: bool  # data_files may name nothing outside `location`


def allowed(body: Mapping[str, object], settings: Settings) -> Wanted:
    """What to load for the body of a POST /v1/load.

    Raises:
        Denied: 400 it says nothing sensible, 403 the policy forbids it, 404 no such local name.
    """
    path = body.get("path")
    if not isinstance(path, str) or not path or "\0" in path or len(path) > 4096:
        raise Denied(400, "path is required: local/<name>, a hub id or an absolute path")
    source, location = _place(path, settings)
    _check_words(body)
    _check_data_files(body.get("data_files"), settings, confined=source != "path")
    if source == "hf" and "/" not in path and body.get("data_files") is not None and not settings.allow_paths:
        # "json" or "text" with data_files is no data set of the hub: the library reads files of ours that way.
        raise Denied(403, "data_files of this are files of the server (--allow-paths)")
    asked = {key: body[key] for key in FIELDS if body.get(key) is not None}
    return Wanted(
        asked=asked,
        source=source,
        location=location,
        name=_text(body, "name"),
        split=_text(body, "split"),
        data_files=body.get("data_files"),
        revision=_text(body, "revision"),
        confined=source == "local",
    )


def _place(path: str, settings: Settings) -> tuple[str, str]:
    if path.startswith(LOCAL):
        name = path.removeprefix(LOCAL)
        if not name:
            raise Denied(400, "local/ needs a name")
        if name not in settings.local:
            raise Denied(404, "no such local data set")
        return "local", settings.local[name]
    if path.startswith("/"):
        if not settings.allow_paths:
            raise Denied(403, "loading by path is off (--allow-paths)")
        return "path", path
    if not _HUB_ID.fullmatch(path) or ".." in path:
        raise Denied(400, "path is neither local/<name>, nor a hub id, nor absolute")
    if settings.no_hf:
        raise Denied(403, "loading from the Hugging Face cache is off (--no-hf)")
    return "hf", path


def _check_words(body: Mapping[str, object]) -> None:
    for key, pattern in (("name", _NAME), ("split", _SPLIT), ("revision", _REVISION)):
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, str) or not pattern.fullmatch(value) or ".." in value.split("/"):
            raise Denied(400, f"{key} is not what it can be")


def _check_data_files(value: object, settings: Settings, *, confined: bool) -> None:
    """A text, a list of them, or split names with either. Each relative and below, unless paths are allowed."""
    for pattern in patterns_in(value):
        if not pattern or "\0" in pattern or len(pattern) > 4096:
            raise Denied(400, "data_files: an empty or overlong name")
        if _SCHEME.match(pattern) or "::" in pattern:
            raise Denied(403, "data_files: only files of the data set itself, no URLs")
        outside = pattern.startswith(("/", "~", "\\")) or ".." in re.split(r"[/\\]", pattern)
        if outside and (confined or not settings.allow_paths):
            raise Denied(403, "data_files: only files below the data set's own folder")


def patterns_in(value: object) -> list[str]:
    """Every file name or pattern in a data_files. Raises Denied when it is none."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [pattern for inner in value.values() for pattern in patterns_in(inner)]
    if isinstance(value, list) and len(value) <= 10_000 and all(isinstance(one, str) for one in value):
        return list(value)
    raise Denied(400, "data_files: expected a text, a list of texts, or an object of these")


def _text(body: Mapping[str, object], key: str) -> str | None:
    value = body.get(key)
    return value if isinstance(value, str) else None
