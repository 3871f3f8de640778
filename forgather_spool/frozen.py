"""``@dataclass(frozen=True, slots=True)`` as in the library, for values that a dispatcher loads before its first job.

The library's reads and compiles six functions for each class, with modules of
its own that take 10 ms to load: for the sixty classes of a dispatcher that was
half of the time from a submit that woke it to its job. Here a class is
made with one function, and that is compiled when the first value is.

What is there behaves as the library's does (`tests/values/test_frozen.py` holds
the two side by side), and the library's `replace`, `fields` and `asdict` take
its values. Mutable or ordered classes are the library's. To a type checker all are.
"""

from __future__ import annotations

from _operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

_ABSENT: Any = object()


class _Field:
    """What a class says of one name."""

    __slots__ = ("compare", "default", "factory", "init", "kw_only", "name", "repr")

    def __init__(self, default: Any, factory: Any, init: bool, compare: bool, repr: bool) -> None:
        self.name = ""
        self.kw_only = False
        self.default = default
        self.factory = factory
        self.init = init
        self.compare = compare
        self.repr = repr


def _field(
    *,
    default: Any = _ABSENT,
    default_factory: Any = _ABSENT,
    init: bool = True,
    compare: bool = True,
    repr: bool = True,
) -> Any:
    return _Field(default, default_factory, init, compare, repr)


def _dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    assert frozen and slots, "others are the library's"
    return lambda cls: _made(cls, kw_only)


class _ForTheLibrary:
    """`__dataclass_fields__`: with it the library's own `replace`, `fields` and `asdict` take values of ours."""

    def __get__(self, value: object, cls: Any) -> Any:
        import dataclasses

        shown = [(one.name, object, dataclasses.field(init=one.init, kw_only=True)) for one in cls.__fields__]
        made: Any = dataclasses.make_dataclass("Shown", shown)
        return made.__dataclass_fields__


def _replace(value: T, **changes: Any) -> T:
    """A copy of `value` with some fields changed."""
    for field in type(value).__fields__:  # type: ignore[attr-defined]
        if field.init:
            changes.setdefault(field.name, getattr(value, field.name))
    return type(value)(**changes)


def _made(cls: Any, kw_only: bool) -> Any:
    """`cls` anew, with a slot for each of its fields."""
    own = {name: _of(name, vars(cls), kw_only) for name, hint in _hints(cls).items() if not hint.startswith("ClassVar")}
    fields = {field.name: field for base in reversed(cls.__mro__[1:]) for field in vars(base).get("__fields__", ())}
    inherited = tuple(fields)
    fields |= own
    left_out = {*own, "__dict__", "__weakref__"}
    compared = tuple(name for name, field in fields.items() if field.compare)
    body = {name: said for name, said in vars(cls).items() if name not in left_out}
    body |= {
        "__qualname__": cls.__qualname__,
        "__fields__": tuple(fields.values()),
        "__dataclass_fields__": _ForTheLibrary(),
        "__slots__": tuple(name for name in own if name not in inherited),
        "__match_args__": tuple(name for name, field in fields.items() if field.init and not field.kw_only),
        "__compared__": attrgetter(*compared) if compared else staticmethod(_nothing),
        "__init__": _init_at_first,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__hash__": _hash,
        "__reduce__": _reduced,
    }
    for name, common in (("__eq__", _is_equal), ("__repr__", _shown)):
        body.setdefault(name, common)
    return type(cls)(cls.__name__, cls.__bases__, body)


def _hints(cls: type) -> dict[str, str]:
    """Its own annotations, in order. They are text: every module of ours says so in its first line."""
    found: dict[str, str] = vars(cls).get("__annotations__", {})
    return found


def _of(name: str, said: Any, kw_only: bool) -> _Field:
    default = said.get(name, _ABSENT)
    field = default if isinstance(default, _Field) else _Field(default, _ABSENT, True, True, True)
    field.name, field.kw_only = name, kw_only
    return field


def _init_at_first(self: Any, *args: Any, **given: Any) -> None:
    """In place of `__init__` until the first call."""
    cls: Any
    for cls in type(self).__mro__:
        if "__fields__" in vars(cls):
            cls.__init__ = init = _compiled(cls)
            init(self, *args, **given)
            return


def _compiled(cls: Any) -> Any:
    names: dict[str, Any] = {"_ABSENT": _ABSENT}
    parameters: dict[bool, list[str]] = {False: [], True: ["*"]}
    lines = []
    for field in cls.__fields__:
        name = field.name
        names[f"_set_{name}"], names[f"_default_{name}"] = getattr(cls, name).__set__, field.default
        if not field.init:
            continue
        value, default = name, ""
        if field.factory is not _ABSENT:
            names[f"_new_{name}"] = field.factory
            value, default = f"_new_{name}() if {name} is _ABSENT else {name}", "=_ABSENT"
        elif field.default is not _ABSENT:
            default = f"=_default_{name}"
        parameters[field.kw_only].append(name + default)
        lines.append(f" _set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    after = parameters[True] if len(parameters[True]) > 1 else []
    head = ", ".join(["self", *parameters[False], *after])
    exec("\n".join([f"def __init__({head}):", *(lines or [" pass"])]), names)
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _nothing(value: object) -> object:
    return ()


def _is_equal(self: Any, other: Any) -> bool:
    return self.__compared__(self) == self.__compared__(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(self.__compared__(self))


def _reduced(self: Any) -> tuple[Any, ...]:
    """For `copy` and `pickle`."""
    return _made_again, (type(self), [getattr(self, field.name) for field in self.__fields__])


def _made_again(cls: Any, values: list[Any]) -> Any:
    made = object.__new__(cls)
    for field, value in zip(cls.__fields__, values, strict=True):
        object.__setattr__(made, field.name, value)
    return made


def _shown(self: Any) -> str:
    said = (f"{field.name}={getattr(self, field.name)!r}" for field in self.__fields__ if field.repr)
    return f"{type(self).__qualname__}({', '.join(said)})"


def _refuse_to_set(self: object, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    dataclass, field, replace = _dataclass, _field, _replace
