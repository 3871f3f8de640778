"""Which hosts are known, and how many cards each has: a job that none can ever run is refused before it is queued.

Knows what dispatchers published in hosts/, and asks no driver.
"""

from __future__ import annotations

from forgather_spool.document import Document
from forgather_spool.errors import ForgatherError, UsageError
from forgather_spool.spool import files
from forgather_spool.spool.paths import Paths


def refuse_too_many(spec: Document, paths: Paths, option: str) -> list[str]:
    """A job that no known host can ever run is refused now. Hosts whose file cannot be read might.

    Where no host has any card, that is a remark: a dispatcher may have looked before the driver was loaded.

    `option` is what asked for them. Remarks for the user.

    Raises:
        UsageError: it says which host has how many.
    """
    wanted = spec.get("gpus", 0)
    if not isinstance(wanted, int) or wanted < 1:
        return []
    has: dict[str, int] = {}
    for name in sorted(files.names(paths.hosts)):
        if not name.endswith(".json"):
            continue
        path = paths.host(name.removesuffix(".json"))
        try:
            if files.read_bytes(path).count(b'"index"') >= wanted:
                return []  # parsing would load `json` for an answer that is plain to see
            cards = files.read_document(path).get("gpus")
        except (FileNotFoundError, ForgatherError):
            return []
        has[name.removesuffix(".json")] = len(cards) if isinstance(cards, list) else 0
    if has and not any(has.values()):
        return [f"no card is known of here ({', '.join(has)}): the job waits until there is one"]
    if has and wanted > max(has.values()):
        counts = ", ".join(f"{host} has {count}" for host, count in has.items())
        raise UsageError(
            f"{option} {wanted}: no known host has that many ({counts})",
            hint=f"ask for fewer; if a host's cards have changed, remove its file in {paths.hosts} and submit again",
        )
    return []
