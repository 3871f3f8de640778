"""What the policy is shown: this host's cards, who holds them, and what the owner wants.

The dispatcher and `forgather sched` build it with the same function, so a
pending reason is what the dispatcher itself would say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar, cast

from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.gpu import Gpu, GpuPolicy
from forgather_spool.host import proc
from forgather_spool.host.base import attempt_of_scope
from forgather_spool.job import Claim
from forgather_spool.policy import Group, Holder, View
from forgather_spool.spool import files, preempt, settings
from forgather_spool.spool.names import Entry, family_of
from forgather_spool.spool.queue import Spool

Value = TypeVar("Value")
KEPT_S = 1.0  # what another host has written is not seen by a look at the name alone


def default_no_gpu_limit() -> int:
    """How many jobs without a card run at once when nobody said: one a core, and never fewer than four."""
    return max(4, os.cpu_count() or 1)


def view_of(
    spool: Spool,
    claims: Mapping[str, Claim],
    lingering: Mapping[str, Claim],
    gpus: Sequence[Gpu],
    nvml_problem: str | None,
    on_trouble: Callable[[StorageFailed], None] = lambda _: None,
) -> View:
    """This moment, for `policy.decide`.

    `claims` are those of all jobs that run or launch here, by job id;
    `lingering` those of jobs that ended while their scope is not empty yet. A
    settings file that cannot be read never counts as an empty one: nothing
    starts, or nothing with cards, until it is mended. `on_trouble` hears of one
    that cannot be read now, which says nothing about the file: look again soon.
    """
    dispatch, gpu_policy, problem = _settings(spool, on_trouble)
    indexes = _indexes(gpus)
    holders = [_holder(spool, job_id, claim, indexes, ended=False) for job_id, claim in claims.items()]
    holders += [_holder(spool, job_id, claim, indexes, ended=True) for job_id, claim in lingering.items()]
    limit, reserve_after_s = dispatch.get("no_gpu_limit"), dispatch.get("reserve_after_s")
    return View(
        now=datetime.now(UTC),
        gpus=gpus,
        policy=gpu_policy,
        holders=holders,
        our_pids=_our_pids(spool, gpus),
        no_gpu_limit=limit if isinstance(limit, int) else default_no_gpu_limit(),
        groups=_groups(dispatch),
        reserve_after_s=reserve_after_s if isinstance(reserve_after_s, (int, float)) else None,
        paused=bool(dispatch.get("paused")),
        settings_problem=unread if isinstance(unread := dispatch.get("unread"), str) else None,
        nvml_problem=problem or nvml_problem,
    )


def _holder(spool: Spool, job_id: str, claim: Claim, indexes: Mapping[str, int], *, ended: bool) -> Holder:
    going = claim.terms.preemptible and spool.is_asked_to_give_way(job_id, claim.attempt)
    return Holder(
        job_id=job_id,
        priority=claim.priority,
        cards=_cards(claim, indexes),
        family=family_of(job_id),
        terms=claim.terms,
        started_at=claim.claimed_at,
        going=going,
        going_for=_asked_by(spool, job_id, claim.attempt) if going else None,
        ended=ended,
    )


def _asked_by(spool: Spool, job_id: str, attempt: int) -> str | None:
    """The waiting job it gives way to. None: the file does not say."""
    try:
        wanted = preempt.wanted_by(spool.paths, job_id, attempt)
    except (BadDocument, UnreadableFile):
        return None
    return None if wanted is None else str(wanted["for_job"])


def _settings(
    spool: Spool, on_trouble: Callable[[StorageFailed], None]
) -> tuple[Mapping[str, object], GpuPolicy, str | None]:
    dispatch: Mapping[str, object]
    try:
        dispatch = _as_it_stands(spool.paths.dispatch, lambda: settings.dispatch(spool.paths))
    except (BadDocument, UnreadableFile, StorageFailed) as error:
        dispatch = {"paused": True, "unread": str(error)}
        if isinstance(error, StorageFailed):
            on_trouble(error)
    try:
        return dispatch, _as_it_stands(spool.paths.gpu_policy, lambda: settings.gpu_policy(spool.paths)), None
    except (BadDocument, UnreadableFile, StorageFailed) as error:
        if isinstance(error, StorageFailed):
            on_trouble(error)
        return dispatch, GpuPolicy(), f"the GPU policy cannot be read: {error}"


_standing: dict[str, tuple[object, float, object]] = {}  # path: which file, kept until, what it says


def _as_it_stands(path: str, read: Callable[[], Value]) -> Value:
    """What `read` makes of the file at `path`, or has made of that very file within `KEPT_S`. A refusal is not kept."""
    found, now = files.identity(path), time.monotonic()
    which, until, value = _standing.get(path, (None, 0.0, None))
    if which != found or now >= until:
        value = read()
        _standing[path] = (found, now + KEPT_S, value)
    return cast(Value, value)


def _groups(dispatch: Mapping[str, object]) -> dict[str, Group]:
    groups = dispatch.get("groups") or {}
    assert isinstance(groups, dict)
    return {name: Group(limit=group["limit"], paused=group["paused"]) for name, group in groups.items()}


def claims_on(spool: Spool, host_name: str) -> dict[str, Claim]:
    """Job id to claim of every job that launches or runs on `host_name`, as the files say."""
    found = {}
    for entry in spool.taken(host_name):
        claim = claim_of(spool, entry)
        if claim is not None:
            found[entry[1]] = claim
    return found


def claim_of(spool: Spool, entry: Entry) -> Claim | None:
    """The claim of a taken job, started or not. None: not written yet, or damaged. Raises StorageFailed."""
    return claim_of_attempt(spool, entry[1], spool.attempt(entry[1]))


def claim_of_attempt(spool: Spool, job_id: str, attempt: int) -> Claim | None:
    """The same of one attempt, which need not be the current one."""
    for path in (spool.paths.started(job_id, attempt), spool.paths.claim(job_id, attempt)):
        try:
            return Claim.from_document(files.read_document(path))
        except (FileNotFoundError, BadDocument, UnreadableFile):
            continue
    return None


def cards_of(claims: Mapping[str, Claim], gpus: Sequence[Gpu]) -> dict[int, tuple[str, ...]]:
    """Card index to the jobs that hold it, several where they share."""
    indexes = _indexes(gpus)
    held: dict[int, tuple[str, ...]] = {}
    for job_id, claim in claims.items():
        for index in _cards(claim, indexes):
            held[index] = (*held.get(index, ()), job_id)
    return held


def _indexes(gpus: Sequence[Gpu]) -> dict[str, int]:
    return {gpu.uuid: gpu.index for gpu in gpus if gpu.uuid is not None}


def _cards(claim: Claim, indexes: Mapping[str, int]) -> tuple[int, ...]:
    """The indexes of its cards. The UUID counts where both know it: indexes move when a card is pulled."""
    return tuple(indexes.get(ref.uuid or "", ref.index) for ref in claim.gpus)


def _our_pids(spool: Spool, gpus: Sequence[Gpu]) -> dict[int, str]:
    pids = {process.pid for gpu in gpus for process in gpu.processes}
    found = {pid: job_of_pid(spool, pid) for pid in pids}
    return {pid: job_id for pid, job_id in found.items() if job_id is not None}


def job_of_pid(spool: Spool, pid: int) -> str | None:
    """The job of this spool whose scope `pid` runs in; None for all others, another user's or spool's job too."""
    scope = proc.scope_of(pid)
    if scope is None:
        return None
    job_id, _ = attempt_of_scope(scope)
    return job_id if os.path.lexists(spool.paths.job(job_id)) else None
