"""What a dataset server is told: each setting's default, the config file, the command line, and who wins.

    the command line, when given at all        (also when it says the default)
    the config file                            --config FILE, else dataset_server/config.yaml if there
    the default

`local` is the one that adds up: both sources' names, the command line's path
for a name in both. What says how clients authenticate (no_auth, auth_token,
auth_token_file, regen_token) counts as one setting: any of them on the command line
puts aside all of the file's. A setting not given is absent, never "equal to its default".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from forgather_spool.errors import UnreadableFile, UsageError

DEFAULT_PORT = 8766
AUTH = ("no_auth", "auth_token", "auth_token_file", "regen_token")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Names are those of the flags and of the config's keys. `auth_token` stays out of `repr`."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    log_level: str = "INFO"
    no_auth: bool = False
    auth_token: str | None = field(default=None, repr=False)
    auth_token_file: str | None = None
    regen_token: bool = False
    quiet_tokens: bool = False
    local: Mapping[str, str] = field(default_factory=dict)
    no_hf: bool = False
    allow_paths: bool = False
    allow_downloads: bool = False
    tls: bool | None = None  # None: when this host has a certificate and others can reach us
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False
    allow_host: tuple[str, ...] = ()
    workers: int = 1
    max_connections: int = 1024
    max_streams: int = 256
    idle_timeout: float = 600.0
    max_handles: int = 64
    max_mapped_gb: float = 0.0  # 0: no limit; addresses cost nothing, page cache is shared


_BOUNDS: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "workers": (1, 256),
    "max_connections": (1, 1_000_000),
    "max_streams": (1, 1_000_000),
    "idle_timeout": (1, 1e9),
    "max_handles": (1, 1_000_000),
    "max_mapped_gb": (0, 1e9),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "host": (str,), "log_level": (str,), "auth_token": (str,), "auth_token_file": (str,), "tls_cert": (str,),
    "tls_key": (str,), "port": (int,), "workers": (int,), "max_connections": (int,), "max_streams": (int,),
    "max_handles": (int,), "idle_timeout": (int, float), "max_mapped_gb": (int, float),
}  # fmt: skip
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def merged(given: Mapping[str, object], file: Mapping[str, object]) -> Settings:
    """One set of settings from what the command line gave and what the file says, both by the rules above.

    Raises:
        UsageError: an unknown key, a value of the wrong kind, two ways to authenticate, a bad local name.
    """
    known = {one.name for one in fields(Settings)}
    for key in file:
        if key not in known:
            raise UsageError(f"config: no such key: {key}", hint=f"known: {', '.join(sorted(known))}")
    for source in (file, given):
        for key, value in source.items():
            _check(key, value)
        _check_auth(source)
    file = {**file, "log_level": str(file["log_level"]).upper()} if file.get("log_level") else file
    chosen = {key: value for key, value in file.items() if not (key in AUTH and any(one in given for one in AUTH))}
    chosen |= given
    chosen["local"] = {**_mapping(file.get("local")), **_mapping(given.get("local"))}
    chosen["allow_host"] = tuple(str(name).lower() for name in _listed(chosen.get("allow_host")))
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if "host" in chosen:
        chosen["host"] = _address(str(chosen["host"]))
    return _checked(Settings(**chosen))  # type: ignore[arg-type]


def _of_a_unit(path: str) -> str:
    """What may be meant where this is a unit's main process: there /tmp is another than its user's (PrivateTmp=)."""
    if os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid()) and path.startswith(("/tmp/", "/var/tmp/")):
        return f"the unit has a /tmp of its own: systemctl --user edit it, [Service] BindReadOnlyPaths={path}"
    return ""


def _checked(settings: Settings) -> Settings:
    for name, path in settings.local.items():
        if not name or "/" in name or name in (".", "..") or not name.isprintable():
            raise UsageError(f"--local: {name!r} cannot be a name", hint="no slash in it: --local NAME=PATH")
        if not os.path.exists(path):
            raise UsageError(f"--local {name}={path}: there is nothing at that path", hint=_of_a_unit(path))
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("tls_cert and tls_key go together")
    if settings.tls is False and settings.tls_cert is not None:
        raise UsageError("--no-tls and --tls-cert contradict each other")
    return settings


def read_file(path: str) -> dict[str, object]:
    """What a config file says; paths in it may begin with ``~``.

    Raises:
        FileNotFoundError: nothing is there.
        UnreadableFile: it cannot be read, or is no mapping in YAML.
    """
    import yaml

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CONFIG_BYTES)
        found = yaml.safe_load(data)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        said = " ".join(str(getattr(error, "problem", None) or type(error).__name__).split())
        mark = getattr(error, "problem_mark", None)
        raise UnreadableFile(f"{path}: not YAML: {said}" + (f" at line {mark.line + 1}" if mark else "")) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UnreadableFile(f"{path}: expected keys and values, such as port: {DEFAULT_PORT}")
    for key in ("auth_token_file", "tls_cert", "tls_key"):
        if isinstance(found.get(key), str):
            found[key] = os.path.expanduser(found[key])
    if isinstance(found.get("local"), dict):
        found["local"] = {name: _absolute(value) for name, value in found["local"].items()}
    return found


def _absolute(value: object) -> object:
    return os.path.abspath(os.path.expanduser(value)) if isinstance(value, str) else value


def _check(key: str, value: object) -> None:
    if value is None or key in ("local", "allow_host"):
        return
    kinds = _TYPES.get(key, (bool,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UsageError(
            f"{key}: expected {_WORDS[kinds[-1]]}, got {value!r}"
            if key != "auth_token"
            else "auth_token: expected a text"
        )
    low, high = _BOUNDS.get(key, (0, 0))
    if key in _BOUNDS and not (isinstance(value, (int, float)) and low <= value <= high):
        raise UsageError(f"{key}: expected {low:g} to {high:g}, got {value!r}")
    if key == "log_level" and str(value).upper() not in LOG_LEVELS:
        raise UsageError(f"log_level: expected one of {', '.join(LOG_LEVELS)}, got {value!r}")


def _check_auth(source: Mapping[str, object]) -> None:
    said = [key for key in AUTH if source.get(key)]
    if len(said) > 1:
        raise UsageError(f"{' and '.join(said)} contradict each other: pick one")


def _mapping(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError("local: expected names and paths", hint="local: {stories: /data/tinystories}")
    for name, path in value.items():
        if not isinstance(name, str):  # YAML reads 2024, null and yes as something else than text
            raise UsageError(f"local: {name!r} is no text", hint="quote the name")
        if not isinstance(path, str):
            raise UsageError(f"local: {name}: expected a path, got {path!r}")
    return dict(value)


def _address(host: str) -> str:
    found = host.strip()
    found = found[1:-1] if found.startswith("[") and found.endswith("]") else found  # as an URL has an IPv6 address
    if not found:
        raise UsageError("host: an empty address", hint='"0.0.0.0" for all addresses')
    return found


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise UsageError("allow_host: expected a list of names")
    return list(value)
