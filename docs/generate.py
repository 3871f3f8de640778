"""Generate the reference from the code: the command line from its help, a JSON Schema for each document.

python docs/generate.py           write docs/reference/cli.md and docs/reference/schema/
python docs/generate.py --check   write nothing; 1 and a list of files when one is out of date
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from forgather_spool import command, schema  # noqa: E402
from forgather_spool.cli import app  # noqa: E402
from forgather_spool.fields import REQUIRED, Field  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
WIDTH = 100
MAILBOX_DOCUMENTS = {
    "command": command.COMMAND,
    "acknowledgement": command.ACKNOWLEDGEMENT,
    "endpoint": command.ENDPOINT,
    "status": command.STATUS,
}
KINDS: dict[str, dict[str, object]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "string_map": {"type": "object", "additionalProperties": {"type": "string"}},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
}
STRICT = {"spec"}  # unknown fields are refused where it enters


def generated() -> Iterator[tuple[Path, str]]:
    """Every generated file with its text."""
    yield REFERENCE / "cli.md", cli_page()
    for name, fields in {**schema.DOCUMENTS, **MAILBOX_DOCUMENTS}.items():
        document = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            **json_schema(fields, strict=name in STRICT),
        }
        yield REFERENCE / "schema" / f"{name}.json", json.dumps(document, indent=2) + "\n"


def json_schema(fields: dict[str, Field], *, strict: bool = False) -> dict[str, object]:
    properties = {name: field_schema(field) for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.default is REQUIRED]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        **({"additionalProperties": False} if strict else {}),
    }


def field_schema(field: Field) -> dict[str, object]:
    found = dict(KINDS[field.kind])
    if field.fields is not None:
        inner = json_schema(field.fields)
        found = {"type": "array", "items": inner} if field.kind == "objects" else inner
    if field.nullable:
        found["type"] = [found["type"], "null"]
    if field.kind in ("integer", "number"):
        found |= {k: v for k, v in (("minimum", field.minimum), ("maximum", field.maximum)) if v is not None}
    if field.kind == "strings" and field.minimum is not None:
        found["minItems"] = int(field.minimum)
    if field.absolute:
        found["pattern"] = "^/"
    if field.choices:
        found["enum"] = list(field.choices)
    if field.default is not REQUIRED and field.default is not None:
        found["default"] = field.default
    if field.help:
        found["description"] = field.help
    return found


def cli_page() -> str:
    parts = ["# The command line\n", "Generated from `--help` by `make docs`; a test checks that it is up to date.\n"]
    for path, each in commands(app.app, ["forgather"]):
        context = click.Context(each, info_name=" ".join(path), terminal_width=WIDTH, max_content_width=WIDTH)
        heading = "#" * min(len(path) + 1, 4)
        parts.append(f"{heading} {' '.join(path)}\n\n```\n{each.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def commands(each: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    yield path, each
    if isinstance(each, click.Group):
        context = click.Context(each, info_name=path[-1])
        for name in each.list_commands(context):
            child = each.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, [*path, name])


def main(words: list[str]) -> int:
    stale = [path for path, text in generated() if not path.exists() or path.read_text() != text]
    if "--check" in words:
        for path in stale:
            print(f"out of date: {path.relative_to(ROOT)} (make docs)")
        return 1 if stale else 0
    (REFERENCE / "schema").mkdir(parents=True, exist_ok=True)
    for path, text in generated():
        path.write_text(text)
    print(f"wrote {len(stale)} changed files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
