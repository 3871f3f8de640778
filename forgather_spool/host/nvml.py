"""The cards of this machine as NVML sees them now.

What NVML cannot say is None in the `Gpu`; a card that cannot be read is a `Gpu`
with a `problem`; an NVML that cannot be asked at all is a `GpuReading` with a
`problem`. None of these is an exception: a machine without cards runs jobs too.
A card that shares the machine's memory (GB10) has None for its own.

NVML stays initialised from the first reading until `close`; see `nvml_session`.

MIG: a partitioned card is one card with `mig` set, its memory and processes are
the whole card's, its utilization is None. Its slices are not handed out one by
one; CUDA_VISIBLE_DEVICES may name them, and their card counts as visible then.

One thread at a time. Knows nothing of policy, jobs or CUDA itself.
"""

from __future__ import annotations

import functools
import pwd
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from forgather_spool.errors import Missing
from forgather_spool.gpu import Gpu, GpuProcess, excluded_indices
from forgather_spool.host.nvml_session import ask, card_is_gone, card_problem, session, session_is_over

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """Every card, by index. `problem` says why NVML could not be asked, and `gpus` is empty then."""

    gpus: tuple[Gpu, ...]
    problem: str | None = None


def read_gpus(visible: str | None) -> GpuReading:
    """Every card of the machine. Never raises for what NVML or the cards do.

    `visible` is the dispatcher's CUDA_VISIBLE_DEVICES, None when unset: cards
    it hides are listed all the same, as `excluded`. A lost card keeps the UUID
    it had, so that a policy by UUID still finds it.
    """
    try:
        return GpuReading(gpus=ask(lambda: _read_cards(visible)))
    except Missing as error:
        return GpuReading(gpus=(), problem=str(error))


def compute_pids(gpu_index: int) -> list[int]:
    """The processes that compute on one card, by pid; those that only draw are left out.

    Inside a container NVML may give the pids of the host.

    Raises:
        Missing: NVML or this card cannot be asked; the message says why.
    """

    def pids() -> list[int]:
        import pynvml

        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(gpu_index)
            return sorted({process.pid for process in _running(handle, "Compute")})
        except pynvml.NVMLError as error:
            if session_is_over(error):
                raise
            raise Missing(f"gpu {gpu_index}: {card_problem(error)}", hint="forgather gpu") from None

    return ask(pids)


def close() -> None:
    """Let go of the driver. The next reading initialises NVML again."""
    session.close()


def _read_cards(visible: str | None) -> tuple[Gpu, ...]:
    import pynvml

    gpus = tuple(_read_card(index) for index in range(pynvml.nvmlDeviceGetCount()))
    names = [(gpu.index, gpu.uuid) for gpu in gpus]
    if visible is not None and "MIG-" in visible:
        names += [(gpu.index, uuid) for gpu in gpus if gpu.mig for uuid in _slice_uuids(gpu.index)]
    excluded = excluded_indices(visible, names)
    session.remember(gpus)
    return tuple(replace(gpu, excluded=gpu.index in excluded) for gpu in gpus)


def _read_card(index: int) -> Gpu:
    import pynvml

    try:
        return _read_fields(index, pynvml.nvmlDeviceGetHandleByIndex(index))
    except pynvml.NVMLError as error:
        if session_is_over(error):
            raise
        return Gpu(
            index=index,
            uuid=session.uuids.get(index),
            name=None,
            memory_total_bytes=None,
            memory_used_bytes=None,
            problem=card_problem(error),
        )


def _read_fields(index: int, handle: Any) -> Gpu:
    import pynvml

    memory = _or_none(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    if memory is not None and memory.total == 0:
        memory = None
    utilization = _or_none(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    power_mw = _or_none(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    mig_modes = _or_none(lambda: pynvml.nvmlDeviceGetMigMode(handle))
    return Gpu(
        index=index,
        uuid=_or_none(lambda: pynvml.nvmlDeviceGetUUID(handle)),
        name=_or_none(lambda: pynvml.nvmlDeviceGetName(handle)),
        memory_total_bytes=memory and memory.total,
        memory_used_bytes=memory and memory.used,
        utilization_percent=utilization and utilization.gpu,
        temperature_c=_or_none(lambda: _temperature_c(handle)),
        power_w=None if power_mw is None else power_mw / 1000,
        fan_percent=_or_none(lambda: pynvml.nvmlDeviceGetFanSpeed(handle)),
        processes=_read_processes(handle),
        mig=mig_modes is not None and mig_modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE,
    )


def _temperature_c(handle: Any) -> int:
    """As the newer call has it: the older one goes with CUDA 14, and drivers before R570 know only that."""
    import pynvml

    try:
        return int(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError_FunctionNotFound:
        return int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def _slice_uuids(index: int) -> list[str]:
    """The UUIDs ("MIG-...") of a partitioned card's slices; those that cannot be read are left out."""
    import pynvml

    uuids = []
    with suppress(pynvml.NVMLError):
        card = pynvml.nvmlDeviceGetHandleByIndex(index)
        for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
            with suppress(pynvml.NVMLError_NotFound):  # places may be empty
                uuids.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, place)))
    return uuids


def _read_processes(handle: Any) -> tuple[GpuProcess, ...]:
    """Who is on the card. A process that both computes and draws is listed once, as "compute"."""
    compute = _or_none(lambda: _running(handle, "Compute")) or []
    graphics = _or_none(lambda: _running(handle, "Graphics")) or []
    pids = {process.pid for process in compute}
    found = [(process, "compute") for process in compute]
    found += [(process, "graphics") for process in graphics if process.pid not in pids]
    return tuple(
        GpuProcess(
            pid=process.pid,
            kind=kind,
            memory_used_bytes=process.usedGpuMemory,
            name=_process_name(process.pid),
            user=_process_user(process.pid),
        )
        for process, kind in found
    )


def _running(handle: Any, kind: str) -> list[Any]:
    """pynvml's process list; `kind` is "Compute" or "Graphics". Drivers before R510 know version 2 only."""
    import pynvml

    try:
        return list(getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")(handle))
    except pynvml.NVMLError_FunctionNotFound:
        return list(getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v2")(handle))


def _process_name(pid: int) -> str | None:
    """None once the process is gone, or where its pid is of another pid namespace."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return None


def _process_user(pid: int) -> str | None:
    """The name of the process's user, its uid as text where it has no name, None once it is gone."""
    try:
        return _user_name(Path(f"/proc/{pid}").stat().st_uid)
    except OSError:
        return None


@functools.lru_cache(maxsize=256)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _or_none(field: Callable[[], T]) -> T | None:
    """A field's value, None where NVML has none. Raises NVMLError when it tells of the whole card or session."""
    import pynvml

    try:
        return field()
    except UnicodeDecodeError:
        return None
    except pynvml.NVMLError as error:
        if session_is_over(error) or card_is_gone(error):
            raise
        return None
