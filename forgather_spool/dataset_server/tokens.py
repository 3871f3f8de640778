"""The token a server takes: given, kept from the last start, or made.

    dataset_server/<port>.token      0600 in a folder of 0700: 64 hex digits and a newline

A token we made stays over restarts, so that clients that got it go on; a given
one is never written anywhere. Call with the port already bound: whoever holds
the port writes its file, and no two do at once.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field

from forgather_spool.dataset_server.settings import Settings
from forgather_spool.errors import UnreadableFile, UsageError
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths

MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Token:
    """`text` None: no token is asked for. `path`: where clients on this host find it. `kept`: from an earlier start."""

    text: str | None = field(repr=False)
    path: str | None = None
    kept: bool = False
    rotated: bool = False


def token_for(settings: Settings, paths: Paths, port: int) -> Token:
    """By the first that says something: no_auth, auth_token, auth_token_file, regen_token, the port's file, a new one.

    Raises:
        UsageError, UnreadableFile: what was given cannot be a token.
    """
    if settings.no_auth:
        return Token(None)
    if settings.auth_token is not None:
        return Token(_checked(settings.auth_token, "--auth-token"))
    if settings.auth_token_file is not None:
        return Token(_checked(_given_file(settings.auth_token_file), settings.auth_token_file))
    path = paths.dataset_token(port)
    if not settings.regen_token:
        try:
            return Token(
                _checked(files.read_bytes(path, MAX_TOKEN_BYTES).decode("ascii", "replace"), path), path, kept=True
            )
        except FileNotFoundError:
            pass
    made = secrets.token_hex(32)
    folder = paths.dataset_server
    for directory in (paths.home, folder):
        if not os.path.isdir(directory):
            os.makedirs(os.path.dirname(directory), mode=files.DIR_MODE, exist_ok=True)
            files.make_directory(directory)
    files.check_private(folder)
    files.replace_bytes(path, f"{made}\n".encode(), folder)
    return Token(made, path, rotated=settings.regen_token)


def _given_file(path: str) -> str:
    """An operator's own file: it may be a link, as secrets mounted by others are."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"{path} can be read by others", hint=f"chmod 600 {path}")
            return file.read(MAX_TOKEN_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token:
        raise UsageError(f"{where}: the token is empty", hint="--no-auth if none is meant")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(f"{where}: a token is one word of ASCII characters")
    return token
