"""The faults that are seeded in the sweep ring fit the code as it is: whoever changes a line there seeds it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.seeded_faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_put_in_and_its_test_is_there(fault: Fault) -> None:
    assert (ROOT / "forgather_spool" / fault.path).read_text().count(fault.right) == 1, "seed this fault anew"

    path, _, name = fault.check.partition("::")
    assert f"def {name.partition('[')[0]}" in (ROOT / path).read_text()


def test_there_are_faults_enough() -> None:
    """The bar asks for twenty at least."""
    assert len(FAULTS) >= 25
