"""`forgather doctor`: what the checks found, and how to mend it."""

from __future__ import annotations

import os

import click

from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.doctor import examine
from forgather_spool.doctor.finding import Finding, Level
from forgather_spool.errors import JobFailed
from forgather_spool.spool.queue import Spool


@click.command()
@click.option("--json", "json_", is_flag=True, help="One JSON object.")
def doctor(json_: bool) -> None:
    """Check this machine and the spool; say how to mend what is wrong.

    Changes nothing. `note` is worth knowing, `warn` may cost you something one
    day, `fail` keeps jobs from running or from being safe. Exits 1 on `fail`.
    """
    findings = examine(Spool(), os.environ)
    if json_:
        click.echo(as_json(as_document(findings)))
    else:
        click.echo("\n".join(as_lines(findings)))
    failed = [finding.name for finding in findings if finding.level is Level.FAIL]
    if failed:
        raise JobFailed(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")


def as_document(findings: list[Finding]) -> dict[str, object]:
    """version, findings [{name, level, says, mend}]; `mend` is null where nothing is to be done. Keys are a promise."""
    return {
        "version": 1,
        "findings": [
            {"name": found.name, "level": str(found.level), "says": found.says, "mend": found.mend or None}
            for found in findings
        ],
    }


def as_lines(findings: list[Finding]) -> list[str]:
    """A line for each, and one more for what to do."""
    width = max(len(found.name) for found in findings)
    lines = []
    for found in findings:
        lines.append(f"{found.level:<4}  {found.name:<{width}}  {shown(found.says)}")
        if found.mend and found.level is not Level.OK:
            lines.append(f"{'':<4}  {'':<{width}}    mend: {shown(found.mend)}")
    return lines
