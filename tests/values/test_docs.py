"""The documentation tells the truth where a program can check it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from forgather_spool import schema
from forgather_spool.errors import BadDocument

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SPECS = [
    {"argv": ["true"]},
    {"argv": ["a", "b"], "gpus": 2, "priority": -3, "env": {"A": "b"}, "time_limit_s": 1.5, "cwd": None},
    {"argv": []},
    {"argv": "true"},
    {"argv": ["true"], "gpus": -1},
    {"argv": ["true"], "gpus": "1"},
    {"argv": ["true"], "colour": "red"},
    {"argv": ["true"], "env": {"A": 1}},
    {"argv": ["true"], "version": 2},
    {"argv": ["true"], "cwd": "/"},
    {"argv": ["true"], "cwd": "here"},
    {"argv": ["true"], "cwd": ""},
    {},
]


def generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says():
    """`make docs` would change nothing. In a process of its own: click remembers what other tests asked it."""
    program = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(program, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", SPECS, ids=str)
def test_the_json_schema_accepts_what_we_accept(document):
    """Somebody who checks a job with the published schema learns what the spool would say."""
    published = json.loads((ROOT / "docs/reference/schema/spec.json").read_text())
    jsonschema.Draft202012Validator.check_schema(published)
    try:
        schema.check(document, schema.SPEC, unknown="refuse")
        ours = True
    except BadDocument:
        ours = False

    assert jsonschema.Draft202012Validator(published).is_valid(document) == ours


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
