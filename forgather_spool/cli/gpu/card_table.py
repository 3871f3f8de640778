"""Cards as the table of `gpu status`: one line each, `-` for what NVML does not say."""

from __future__ import annotations

from forgather_spool.cli.gpu.cards import Card, Cards, OnCard
from forgather_spool.cli.show import shown
from forgather_spool.cli.table import left_out, natural_width, render, silent
from forgather_spool.gpu import CardPolicy
from forgather_spool.spool.names import short_id

HEADERS = ("Idx", "Name", "Util%", "Mem (GB)", "Temp", "Power", "Fan%", "Disabled", "MinPri", "PIDs", "Held by")
NAME_COLUMN = HEADERS.index("Name")
LEFT_OUT = ("Fan%", "PIDs")  # where it is narrow, in this order
ONLY_WHERE_SILENT = ("Disabled", "MinPri")
AT_LAST = ("Power", "Temp")
UNKNOWN = "-"
ANY = "any"
MAKER = "NVIDIA "
_GIB = 1 << 30


def as_table(cards: Cards, *, width: int | None) -> list[str]:
    """The lines; a sentence where there is no card."""
    if cards.cards:
        lines = _table([_row(card, short=False) for card in cards.cards], cards, width)
    else:
        lines = ["no GPUs on this host" + (f": {shown(cards.problem)}" if cards.problem else "")]
    for key, policy in cards.unseen().items():
        setting = f"disabled={policy.disabled} min_priority={least(policy)}"
        lines.append(f"gpu {shown(key)}: not on this host; {setting}")
    if cards.policy.ignore_foreign_processes:
        lines.append("foreign processes are ignored: a card others compute on is free (forgather gpu foreign respect)")
    return lines


def _table(rows: list[tuple[str, ...]], cards: Cards, width: int | None) -> list[str]:
    """Where a line is too narrow: ids short, no maker's name, and only the columns that matter."""
    if width is None or natural_width(HEADERS, rows) <= width:
        return render(HEADERS, rows, width=width, name_column=NAME_COLUMN)
    rows = [_row(card, short=True) for card in cards.cards]
    quiet = [name for name in silent(HEADERS, rows, (UNKNOWN, ANY)) if name in ONLY_WHERE_SILENT]
    headers, narrow = left_out(HEADERS, rows, width, name_column=NAME_COLUMN, gives_way=(*LEFT_OUT, *quiet, *AT_LAST))
    return render(headers, narrow, width=width, name_column=NAME_COLUMN)


def least(policy: CardPolicy) -> str:
    """The priority from which a card may be had, as a person reads it."""
    return ANY if policy.min_priority is None else str(policy.min_priority)


def process_words(on_card: OnCard) -> str:
    """E.g. ``4711 python of ann``, ``4711 python of ann (job q_...)``."""
    process = on_card.process
    words = [str(process.pid), process.name or "", f"of {process.user}" if process.user else ""]
    if on_card.job_id is not None:
        words.append(f"(job {on_card.job_id})")
    return shown(" ".join(word for word in words if word))


def _row(card: Card, *, short: bool) -> tuple[str, ...]:
    gpu = card.gpu
    name = shown(gpu.name or UNKNOWN) + (" (MIG)" if gpu.mig else "")
    return (
        str(gpu.index),
        name.removeprefix(MAKER) if short else name,
        _number(gpu.utilization_percent),
        f"{_gib(gpu.memory_used_bytes)}/{_gib(gpu.memory_total_bytes)}",
        _number(gpu.temperature_c),
        UNKNOWN if gpu.power_w is None else f"{gpu.power_w:.0f}W",
        _number(gpu.fan_percent),
        _disabled(card),
        least(card.policy),
        str(sum(on_card.process.kind == "compute" for on_card in card.processes)),
        _held_by(card, short=short),
    )


def _disabled(card: Card) -> str:
    words = [*(["yes"] if card.policy.disabled else []), *(["(excluded)"] if card.gpu.excluded else [])]
    return " ".join(words) or UNKNOWN


def _held_by(card: Card, *, short: bool) -> str:
    """What is wrong with it, else the job that holds it and whoever else computes there."""
    if card.gpu.problem is not None:
        return f"cannot be used: {shown(card.gpu.problem)}"
    # A job whose claim is gone may have left a process behind: it is named by that.
    jobs = dict.fromkeys(job_id for job_id in (*card.job_ids, *(p.job_id for p in card.processes)) if job_id)
    foreign = [f"foreign {process_words(on_card)}" for on_card in card.processes if on_card.is_foreign]
    ids = [short_id(job_id) if short else job_id for job_id in jobs]
    return ", ".join([*map(shown, ids), *foreign]) or UNKNOWN


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _gib(size_bytes: int | None) -> str:
    return UNKNOWN if size_bytes is None else f"{size_bytes / _GIB:.1f}"
