"""Which card is meant by an index, a UUID, or the beginning of one.

The policy outlives the cards it is about and may be shared by several hosts, so
a card that this host does not have can be named all the same, with a warning:
by its index, or by a whole UUID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forgather_spool.errors import UsageError
from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy

MAX_INDEX_DIGITS = 4
UUID_LENGTH = len("GPU-00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True, slots=True)
class Named:
    """A card as the user named it: its key in the policy, and the card itself where this host has it."""

    key: str
    gpu: Gpu | None

    def effective_key(self, policy: GpuPolicy) -> str:
        """Where its policy stands: an entry by UUID wins over one by index, so that is the one to change."""
        by_uuid = None if self.gpu is None else self.gpu.uuid
        return by_uuid if by_uuid is not None and by_uuid in policy.cards else self.key

    def policy_now(self, policy: GpuPolicy) -> CardPolicy:
        if self.gpu is not None:
            return policy.of(self.gpu)
        return policy.cards.get(self.key, CardPolicy())


def card_named(text: str, gpus: Sequence[Gpu], *, by_uuid: bool = False) -> Named:
    """The card `text` names among `gpus`, or one that is not here. `by_uuid`: its key is to be the UUID.

    Raises:
        UsageError: no index and no UUID, a beginning that fits several cards or none, or no UUID to go by.
    """
    if text.isascii() and text.isdigit() and len(text) <= MAX_INDEX_DIGITS:
        named = _by_index(int(text), gpus)
    elif text.startswith("GPU-"):
        named = _by_uuid(text, gpus)
    else:
        raise UsageError(f"{text!r} is no card: neither an index nor a UUID (GPU-...)", hint="forgather gpu status")
    if not by_uuid:
        return named
    if named.gpu is None or named.gpu.uuid is None:
        raise UsageError(f"the UUID of gpu {text} is not known on this host", hint="name the card by its index")
    return Named(named.gpu.uuid, named.gpu)


def _by_index(index: int, gpus: Sequence[Gpu]) -> Named:
    return Named(str(index), next((gpu for gpu in gpus if gpu.index == index), None))


def _by_uuid(text: str, gpus: Sequence[Gpu]) -> Named:
    fits = [gpu for gpu in gpus if gpu.uuid is not None and gpu.uuid.startswith(text)]
    if len(fits) == 1:
        return Named(str(fits[0].uuid), fits[0])
    if fits:
        uuids = ", ".join(str(gpu.uuid) for gpu in fits)
        raise UsageError(f"{len(fits)} cards begin with {text}: {uuids}", hint="give more of the UUID")
    if len(text) == UUID_LENGTH:
        return Named(text, None)
    raise UsageError(f"no card of this host has a UUID that begins with {text}", hint="forgather gpu status")
