"""`frozen.dataclass` and the library's, side by side: what is said of one holds of the other."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from forgather_spool import frozen


def classes(library: Any) -> list[Any]:
    """The same classes, made by one or the other."""
    dataclass, field = library.dataclass, library.field

    @dataclass(frozen=True, slots=True)
    class Plain:
        kind: ClassVar[str] = "plain"
        name: str
        size: int = 3
        tags: list[str] = field(default_factory=list)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        name: str = "none"
        note: str = field(default="", compare=False, repr=False)
        length: int = field(init=False, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "length", len(self.name))

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True)
    class Derived(Plain):
        extra: str = ""

        def __repr__(self) -> str:
            return f"derived {self.name}"

    return [Plain, Named, Empty, Derived]


BOTH = pytest.mark.parametrize("library", [frozen, dataclasses])


@BOTH
def test_fields_come_by_place_by_name_or_by_default(library: Any) -> None:
    plain, named, _, derived = classes(library)

    value = plain("a", size=4)

    assert (value.name, value.size, value.tags, value.kind) == ("a", 4, [], "plain")
    assert plain("b").tags is not plain("b").tags
    assert named(name="four").length == 4
    assert derived("a", 1, [], "more").extra == "more"


@BOTH
@pytest.mark.parametrize(
    ("args", "given"), [((), {}), (("a",), {"name": "a"}), (("a", 1, [], 2), {}), (("a",), {"x": 1})]
)
def test_what_is_missing_or_too_much_is_refused(library: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    plain, named, *_ = classes(library)

    with pytest.raises(TypeError):
        plain(*args, **given)
    with pytest.raises(TypeError):
        named("by place")


@BOTH
def test_values_are_equal_if_their_class_and_what_is_compared_are(library: Any) -> None:
    plain, named, empty, derived = classes(library)

    assert plain("a") == plain("a") != plain("b")
    assert plain("a") != derived("a")
    assert plain("a") != ("a", 3, [])
    assert named(note="one") == named(note="other")
    assert hash(named(note="one")) == hash(named(note="other"))
    assert empty() == empty() and hash(empty()) == hash(empty())


@BOTH
def test_nothing_of_a_value_changes(library: Any) -> None:
    plain, *_ = classes(library)
    value = plain("a")

    for change in (
        lambda: setattr(value, "name", "b"),
        lambda: setattr(value, "new", 1),
        lambda: delattr(value, "name"),
    ):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            change()
    assert value == plain("a") and not hasattr(value, "__dict__")


@BOTH
def test_a_copy_differs_in_what_was_named(library: Any) -> None:
    plain, named, *_ = classes(library)

    assert copy.copy(plain("a")) == plain("a") == copy.deepcopy(plain("a"))
    assert library.replace(plain("a", 1), size=2) == plain("a", 2)
    assert library.replace(named(name="a"), name="long").length == 4
    with pytest.raises(TypeError):
        library.replace(plain("a"), other=1)


@BOTH
def test_a_value_shows_its_fields_and_can_be_matched(library: Any) -> None:
    plain, named, empty, derived = classes(library)

    assert repr(plain("a")).endswith("Plain(name='a', size=3, tags=[])")
    assert repr(named()).endswith("Named(name='none', length=4)")
    assert repr(empty()).endswith("Empty()") and repr(derived("a")) == "derived a"
    assert plain.__match_args__ == ("name", "size", "tags") and named.__match_args__ == ()


def test_the_library_takes_values_of_ours() -> None:
    plain, named, *_ = classes(frozen)

    assert dataclasses.replace(plain("a"), size=4) == plain("a", 4)
    assert dataclasses.replace(named(name="a"), name="long").length == 4
    assert dataclasses.asdict(plain("a")) == {"name": "a", "size": 3, "tags": []}
    assert dataclasses.is_dataclass(plain)


def test_a_dispatcher_loads_no_dataclasses() -> None:
    """They, and what they load, are the larger part of its start."""
    program = "import sys, forgather_spool.dispatcher.life, forgather_spool.host.systemd; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout

    heavy = {"dataclasses", "inspect", "pathlib", "hashlib", "subprocess", "forgather_spool.host.nvml"}
    assert not heavy & set(loaded.split())
