"""Which kind of host this is: with systemd scopes where a user manager answers, else without.

``FORGATHER_HOST_KIND=systemd`` or ``process`` overrules what is found.
"""

from __future__ import annotations

from collections.abc import Mapping

from forgather_spool.errors import Missing, UsageError
from forgather_spool.host.base import Host
from forgather_spool.host.process import ProcessHost

KIND_VARIABLE = "FORGATHER_HOST_KIND"


def detect(environ: Mapping[str, str]) -> Host:
    """The host to launch jobs on.

    Raises:
        Missing: systemd was asked for by name and cannot be reached.
        UsageError: the variable names no kind of host.
    """
    kind = environ.get(KIND_VARIABLE, "")
    if kind not in ("", "systemd", "process"):
        raise UsageError(f"{KIND_VARIABLE}={kind}: no such kind of host", hint="systemd or process")
    if kind == "process":
        return ProcessHost()
    try:
        return _systemd_host(environ)
    except Missing:
        if kind == "systemd":
            raise
        return ProcessHost()


def why_not_systemd(environ: Mapping[str, str]) -> str | None:
    """Why jobs get no scopes here, in a sentence; None: they do."""
    if environ.get(KIND_VARIABLE) == "process":
        return f"{KIND_VARIABLE}=process asks for plain processes"
    try:
        _systemd_host(environ).close()
    except Missing as error:
        return str(error)
    return None


def _systemd_host(environ: Mapping[str, str]) -> Host:
    try:
        import jeepney  # noqa: F401
    except ImportError:
        raise Missing("jeepney, which talks to systemd, is not installed", hint="pip install jeepney") from None
    from forgather_spool.host.systemd import SystemdHost

    return SystemdHost(environ)
