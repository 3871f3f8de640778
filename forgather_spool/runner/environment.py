"""What a job finds in its environment. Pure."""

from __future__ import annotations

from forgather_spool.runner.request import Request


def job_environment(request: Request, spec_env: dict[str, str], home: str) -> dict[str, str]:
    """Exactly the host's few variables, over them the spec's, over them ours; nothing is inherited.

    CUDA_VISIBLE_DEVICES is always ours, empty for a job without cards: what a
    spec sets there would take cards from other jobs.
    """
    return {
        "PYTHONUNBUFFERED": "1",  # into a pipe Python writes by blocks, and a killed job would lose its last lines
        **request.env,
        **spec_env,
        "FORGATHER_JOB_ID": request.job_id,
        "FORGATHER_ATTEMPT": str(request.attempt),
        "FORGATHER_HOME": home,
        "FORGATHER_SCOPE": request.scope,
        "CUDA_VISIBLE_DEVICES": request.cuda_visible_devices,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
