"""What a job finds in its environment. Pure."""

from __future__ import annotations

from forgather_spool import array
from forgather_spool.runner.request import Request
from forgather_spool.spool.names import family_of, index_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def job_environment(request: Request, spec: Mapping[str, Any], home: str) -> dict[str, str]:
    """Exactly the host's few variables, over them the spec's, over them ours; nothing is inherited.

    CUDA_VISIBLE_DEVICES is always ours, empty for a job without cards: what a
    spec sets there would take cards from other jobs.
    """
    return {
        "PYTHONUNBUFFERED": "1",  # into a pipe Python writes by blocks, and a killed job would lose its last lines
        **request.env,
        **spec["env"],
        "FORGATHER_JOB_ID": request.job_id,
        "FORGATHER_ATTEMPT": str(request.attempt),
        "FORGATHER_HOME": home,
        "FORGATHER_SCOPE": request.scope,
        "CUDA_VISIBLE_DEVICES": request.cuda_visible_devices,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        **_of_a_member(request.job_id, spec),
    }


def _of_a_member(job_id: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """Which one it is, of how many; nothing for a job that is no member of an array."""
    family, wanted = family_of(job_id), spec["array"]
    if family is None or wanted is None:
        return {}
    return {
        "FORGATHER_ARRAY_ID": family,
        "FORGATHER_ARRAY_INDEX": str(index_of(job_id)),
        "FORGATHER_ARRAY_SIZE": str(wanted.get("size") or array.size(wanted["indexes"])),
    }
