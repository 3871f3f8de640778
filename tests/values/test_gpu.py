"""Cards as values: what CUDA_VISIBLE_DEVICES hides, and which policy a card falls under."""

from __future__ import annotations

import pytest

from forgather_spool.errors import BadDocument
from forgather_spool.gpu import CardPolicy, Gpu, GpuPolicy, excluded_indices

A, B, C = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932aaaa-0000-4106", "GPU-1f000000-0000-4106"
CARDS = [(0, A), (1, B), (2, C)]
SLICES = [(0, "MIG-55550000-aaaa"), (0, "MIG-66660000-bbbb"), (1, "MIG-77770000-cccc")]


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        pytest.param(None, set(), id="unset hides nothing"),
        pytest.param("", {0, 1, 2}, id="empty hides all"),
        pytest.param("-1", {0, 1, 2}, id="-1 hides all"),
        pytest.param("NoDevFiles", {0, 1, 2}, id="NoDevFiles hides all"),
        pytest.param("0", {1, 2}, id="one index"),
        pytest.param("2,1", {0}, id="the guide's first example"),
        pytest.param("0,2,-1,1", {1}, id="the guide's second example: the list ends at -1"),
        pytest.param("0,7,1", {1, 2}, id="an index past the last card ends the list"),
        pytest.param("7,0", {0, 1, 2}, id="nothing before the first invalid entry"),
        pytest.param("0,,1", {1, 2}, id="an empty entry ends the list"),
        pytest.param("1,", {0, 2}, id="a comma at the end is harmless"),
        pytest.param(" 0, 1", {2}, id="spaces before an index"),
        pytest.param("1gpu2,2ampere", {0}, id="an index is what strtoul reads"),
        pytest.param("1,1", {0, 1, 2}, id="a card twice hides all"),
        pytest.param("1,01", {0, 1, 2}, id="a card twice, spelled differently"),
        pytest.param("1,-1,1", {0, 2}, id="what follows an invalid entry is not looked at"),
        pytest.param(A, {1, 2}, id="a UUID"),
        pytest.param(f"{C},{A}", {1}, id="UUIDs"),
        pytest.param("GPU-8932f", {1, 2}, id="a UUID cut short"),
        pytest.param("GPU-8932", {0, 1, 2}, id="a UUID cut too short fits two cards"),
        pytest.param(f"{C},GPU-8932,{B}", {0, 1}, id="an ambiguous UUID ends the list"),
        pytest.param(f"{A},GPU-ffff,{B}", {1, 2}, id="an unknown UUID ends the list"),
        pytest.param(f"{A},GPU-8932f", {0, 1, 2}, id="a card twice by UUID hides all"),
        pytest.param(f"{A},1", {1, 2}, id="an index among UUIDs ends the list"),
        pytest.param(f"0,{B}", {1, 2}, id="a UUID among indices ends the list"),
        pytest.param(A.removeprefix("GPU-"), {0, 1, 2}, id="a UUID without GPU- is an index past the last"),
        pytest.param(f"MIG-{B}/1/0", {0, 2}, id="a slice by its card"),
        pytest.param(f"MIG-{B}/1/0,MIG-{B}/2/0", {0, 2}, id="two slices of a card are not one card twice"),
        pytest.param(f"MIG-{B}/1/0,MIG-{B}/1/0", {0, 1, 2}, id="a slice twice hides all"),
        pytest.param(f"MIG-{B}", {0, 1, 2}, id="a slice by its card needs its instances"),
        pytest.param("MIG-77770000-cccc", {0, 2}, id="a slice by its own UUID"),
        pytest.param("MIG-55550000-aaaa,MIG-66660000-bbbb", {1, 2}, id="two slices by their own UUIDs"),
        pytest.param("MIG-99990000-dddd", {0, 1, 2}, id="an unknown slice"),
    ],
)
def test_cuda_visible_devices_hides_what_cuda_would_hide(visible, hidden):
    assert excluded_indices(visible, CARDS + SLICES) == hidden


def test_a_card_without_a_uuid_can_be_named_by_index_only():
    assert excluded_indices("0", [(0, None), (1, B)]) == {1}
    assert excluded_indices(A, [(0, None), (1, B)]) == {0, 1}


def test_a_machine_without_cards_has_none_to_hide():
    assert excluded_indices("0,1", []) == frozenset()


def card(index: int = 0, uuid: str | None = A, used: int | None = 40) -> Gpu:
    return Gpu(index=index, uuid=uuid, name=None, memory_total_bytes=100, memory_used_bytes=used)


def test_free_memory_is_known_only_when_used_memory_is():
    assert card().memory_free_bytes == 60
    assert card(used=None).memory_free_bytes is None


def test_a_policy_by_uuid_wins_over_one_by_index():
    policy = GpuPolicy(cards={A: CardPolicy(min_priority=5), "0": CardPolicy(disabled=True)})

    assert policy.of(card(uuid=A)) == CardPolicy(min_priority=5)
    assert policy.of(card(uuid=B)) == CardPolicy(disabled=True)
    assert policy.of(card(index=1, uuid=None)) == CardPolicy()


def test_a_gpu_policy_survives_its_document():
    policy = GpuPolicy(cards={"0": CardPolicy(disabled=True, min_priority=3)}, ignore_foreign_processes=True)

    assert GpuPolicy.from_document(policy.as_document()) == policy


def test_a_damaged_gpu_policy_names_the_card():
    with pytest.raises(BadDocument, match=r"\$\.gpus\.0"):
        GpuPolicy.from_document({"version": 1, "gpus": {"0": "off"}})
