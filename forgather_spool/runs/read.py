"""One run as a value: its records and what `run.json` beside them says.

A log is a JSON list of records, each with `global_step` and any numbers, in
the order they were logged; or Hugging Face's state, whose `log_history` is such
a list with `step`. Numbers that are not finite may be spelled ``NaN`` or
``"NaN"``. What is no number is left out, save that a damaged file is an error
and never an empty run.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from forgather_spool.errors import UnreadableFile, UsageError
from forgather_spool.runs.series import Series
from forgather_spool.spool import files

LIMIT_BYTES = 256 << 20  # about a million records
ABOUT = "run.json"
Axis = Literal["step", "epoch", "time"]
Record = dict[str, float]
_NOT_METRICS = {"global_step", "epoch", "timestamp"}
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run logged. `records` may be empty: it has not logged yet. Their `timestamp` is Unix time."""

    file: Path
    run_id: str
    name: str | None
    job_id: str | None
    started_at: datetime | None
    resumed_from: str | None  # a run id, or the path of a run or a checkpoint
    records: tuple[Record, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric some record has, in the order they first appear."""
        return tuple(dict.fromkeys(key for record in self.records for key in record if key not in _NOT_METRICS))

    @property
    def last_step(self) -> int | None:
        return int(max(record["global_step"] for record in self.records)) if self.records else None

    @property
    def duration_s(self) -> float | None:
        """First record to last; None where fewer than two carry a time and the trainer gave no total."""
        at = [record["timestamp"] for record in self.records if "timestamp" in record]
        return max(at) - min(at) if len(at) > 1 else self._last("train_runtime")

    @property
    def steps_per_s(self) -> float | None:
        """Over the whole run, pauses included."""
        timed = [record for record in self.records if "timestamp" in record]
        if len(timed) > 1 and (spent_s := timed[-1]["timestamp"] - timed[0]["timestamp"]) > 0:
            return (timed[-1]["global_step"] - timed[0]["global_step"]) / spent_s
        return self._last("train_steps_per_second")

    def series(self, metric: str, x: Axis = "step") -> Series:
        """`metric` against the step, the epoch, or the seconds since the first record. Empty if never logged.

        Raises:
            UsageError: the metric is there, but the records have no such x.
        """
        key = {"step": "global_step", "epoch": "epoch", "time": "timestamp"}[x]
        having = [record for record in self.records if metric in record]
        points = [(record[key], record[metric]) for record in having if math.isfinite(record.get(key, math.nan))]
        if having and not points:
            raise UsageError(f"{self.file}: its records carry no {x}", hint="--x-axis step")
        start = min(record.get(key, math.inf) for record in self.records) if x == "time" and points else 0.0
        return Series(tuple(at - start for at, _ in points), tuple(value for _, value in points))

    def _last(self, key: str) -> float | None:
        return next((record[key] for record in reversed(self.records) if key in record), None)


def read_run(file: Path) -> Run:
    """The run whose log is `file`.

    Raises:
        UsageError: no such file.
        UnreadableFile: damaged, too large, not a log; the message says where.
    """
    content = _json(file)
    if isinstance(content, dict) and isinstance(content.get("log_history"), list):
        rows, where = content["log_history"], "$.log_history"
    elif isinstance(content, list):
        rows, where = content, "$"
    else:
        raise UnreadableFile(f"{file}: expected a list of records, or a trainer_state.json with its log_history")
    about = _about(file.parent / ABOUT)
    return Run(
        file=file,
        run_id=_text(about, "run_id") or _named_after(file),
        name=_text(about, "name"),
        job_id=_text(about, "job_id"),
        started_at=_instant(about.get("started_at")),
        resumed_from=_text(about, "resumed_from"),
        records=tuple(_record(file, f"{where}[{index}]", row) for index, row in enumerate(rows)),
    )


def _named_after(file: Path) -> str:
    """The run's folder, which may have been given as ``.``; a file of another name than usual is named itself."""
    return file.resolve().parent.name or file.name


def _about(path: Path) -> dict[str, Any]:
    try:
        about = _json(path)
    except UsageError:
        return {}
    if not isinstance(about, dict):
        raise UnreadableFile(f"{path}: expected an object", hint=f"the logs do without it: mv {ABOUT} away")
    return about


def _json(path: Path) -> Any:
    try:
        data = files.read_bytes(str(path), LIMIT_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", hint="forgather logs list DIR shows the runs below DIR") from None
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _damaged(path, data, f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _damaged(path, data, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError):
        raise _damaged(path, data, "a number too long, or nested too deep") from None


def _damaged(path: Path, data: bytes, problem: str) -> UnreadableFile:
    if not data.strip():
        return UnreadableFile(
            f"{path}: empty, not even a list", hint="its trainer died while writing it, or is just now"
        )
    hint = "if its trainer is writing just now, try again" if not data.rstrip().endswith((b"]", b"}")) else ""
    return UnreadableFile(f"{path}: damaged: {problem}", hint=hint)


def _record(file: Path, where: str, row: object) -> Record:
    if not isinstance(row, dict):
        raise UnreadableFile(f"{file}: {where}: expected an object")
    found = {key: number for key, value in row.items() if (number := _number(value)) is not None}
    step = found.pop("step", None)
    step = found.setdefault("global_step", math.nan if step is None else step)
    if not math.isfinite(step):
        raise UnreadableFile(f"{file}: {where}: has no global_step")
    return found


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _NOT_FINITE.get(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _text(about: dict[str, Any], key: str) -> str | None:
    value = about.get(key)
    return value if isinstance(value, str) and value else None


def _instant(value: object) -> datetime | None:
    """Unix seconds or ISO 8601; without an offset it is taken as UTC."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else None
    except (ValueError, OverflowError, OSError):
        return None
