"""What systemd is told of one job's transient scope: its process, limits and names. Talks to nobody."""

from __future__ import annotations

from forgather_spool.host.base import Limits

SLICE = "forgather.slice"
RUNNER_BELT_S = 60.0  # the runner enforces time limit and grace, and writes the result; systemd when it cannot
MAX_DESCRIPTION = 120


def scope_properties(
    pid: int, limits: Limits, description: str, *, with_oom_policy: bool = True
) -> list[tuple[str, tuple[str, object]]]:
    """The unit's properties as StartTransientUnit takes them; see org.freedesktop.systemd1(5)."""
    properties: list[tuple[str, tuple[str, object]]] = [
        ("Description", ("s", plain_description(description))),
        ("PIDs", ("au", [pid])),
        ("Slice", ("s", SLICE)),
        ("KillMode", ("s", "control-group")),  # with "mixed" a scope is killed at once, without TERM
        ("CollectMode", ("s", "inactive-or-failed")),
        ("TimeoutStopUSec", ("t", _usec(limits.grace_s + RUNNER_BELT_S))),
    ]
    if with_oom_policy:
        properties.append(("OOMPolicy", ("s", "continue")))  # else systemd ends the runner too
    if limits.memory_bytes is not None:
        properties += [("MemoryMax", ("t", limits.memory_bytes)), ("MemorySwapMax", ("t", 0))]
    if limits.cpus is not None:
        properties.append(("CPUQuotaPerSecUSec", ("t", _usec(limits.cpus))))
    if limits.time_limit_s is not None:
        properties.append(("RuntimeMaxUSec", ("t", _usec(limits.time_limit_s + limits.grace_s + RUNNER_BELT_S))))
    return properties


def plain_description(text: str) -> str:
    """`text` on one printable line of at most `MAX_DESCRIPTION` characters."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= MAX_DESCRIPTION else plain[: MAX_DESCRIPTION - 3] + "..."


def _usec(seconds: float) -> int:
    return max(1, round(seconds * 1_000_000))
