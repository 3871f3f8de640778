"""Running git: nothing of the caller's GIT_ variables, no hooks, one line for what it refuses."""

from __future__ import annotations

import os
import subprocess

from forgather_spool.errors import ForgatherError, Missing

# What it writes is durable before it returns; the older word is for git before 2.36.
_ALWAYS = (
    "core.fsync=all", "core.fsyncMethod=fsync", "core.fsyncObjectFiles=true", "core.hooksPath=/dev/null",
    "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false", "advice.addEmbeddedRepo=false",
)  # fmt: skip
_WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "forgather"), ("EMAIL", "forgather@localhost"))
}


class GitFailed(ForgatherError):
    """git said no; the message is the first it said that is no warning."""


def git(words: list[str], *, directory: str, **env: str) -> str:
    """What it prints, without the last line end. `directory` is where it runs.

    Raises:
        GitFailed: it failed.
        Missing: there is no git.
    """
    options = [word for setting in _ALWAYS for word in ("-c", setting)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *options, *words],
            cwd=directory,
            env={**kept, **_WHO, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    except FileNotFoundError:
        if not os.path.isdir(directory):
            raise GitFailed(f"{directory} is not there any more") from None
        raise Missing("git is not installed", hint="a snapshot needs it") from None
    except OSError as error:
        raise Missing(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        said = _refusal(done.stderr.decode("utf-8", "replace"))
        raise GitFailed(f"git {words[0]}: {said or f'exit code {done.returncode}'}")
    return os.fsdecode(done.stdout).removesuffix("\n")


def _refusal(said: str) -> str:
    """Its first line that is no remark: since git 2.36 the older word for durability gets a warning in every call."""
    lines = said.strip().splitlines()
    return next((line for line in lines if not line.startswith(("warning:", "hint:"))), "".join(lines[:1]))
