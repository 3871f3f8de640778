"""``${...}`` in a config: dynamic arguments and the environment, and nothing else.

    ${name}               the dynamic argument `name`
    ${env:NAME}           the environment variable; an error where it is not set
    ${env:NAME:-default}  the default where it is not set, or empty
    $$                    a dollar sign

A value that is exactly ``${name}`` keeps the argument's type; within a longer
text it is spelled as YAML would. Nothing is substituted twice: what a value
brings along stays as it is. Keys are left alone. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from forgather_spool.errors import BadDocument

_REFERENCE = re.compile(r"\$(?:\$|\{([^{}]*)\}|)")
_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def substituted(value: Any, names: Mapping[str, Any], environ: Mapping[str, str], *, where: str) -> Any:
    """`value` with every reference replaced, through lists and mappings.

    Raises:
        BadDocument: a name is unknown, or a ``$`` stands alone; `where` is the path of the field, e.g. ``$.env.LR``.
    """
    if isinstance(value, dict):
        return {key: substituted(item, names, environ, where=f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, names, environ, where=f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None and whole[0] != "$$":
        return _meaning(whole, names, environ, where)
    return _REFERENCE.sub(lambda found: spelled(_meaning(found, names, environ, where)), value)


def spelled(value: Any) -> str:
    """A plain value as text: ``true``, ``0.001``; nothing for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _meaning(found: re.Match[str], names: Mapping[str, Any], environ: Mapping[str, str], where: str) -> Any:
    if found[0] == "$$":
        return "$"
    name = found[1]
    if name is None:
        raise BadDocument(where, "a $ stands alone", hint="write $$ for a dollar sign, ${name} for a dynamic argument")
    asked = _ENVIRONMENT.fullmatch(name)
    if asked is not None:
        return _from_environment(asked[1], asked[2], environ, where)
    if name not in names:
        known = ", ".join(sorted(names)) or "there are none"
        raise BadDocument(where, f"${{{name}}} is not a dynamic argument", hint=f"under dynamic_args: {known}")
    return names[name]


def _from_environment(name: str, default: str | None, environ: Mapping[str, str], where: str) -> str:
    if default is not None:
        return environ.get(name) or default
    if name not in environ:
        raise BadDocument(
            where, f"the environment variable {name} is not set", hint=f"or give a default: ${{env:{name}:-...}}"
        )
    return environ[name]
