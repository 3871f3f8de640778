"""Our modules found in half of the time: for a short command, most of what it does is to import thirty of them.

Python's way serves every kind of file that may hold a module, in Python. Ours is a source file with its compiled one
beside it, of the same time and size as that says; for anything else Python's way goes on from here, and
compiles it. What is imported is the same, and its loader is one of Python's.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

_OURS = f"{__package__}."
_COMPILED = f".{sys.implementation.cache_tag}.pyc"
_BY_TIME = MAGIC_NUMBER + bytes(4)  # how such a file begins; time and size of its source follow, see PEP 552
_HEAD_BYTES = 16


class _Loader(SourceFileLoader):
    """Python's own, but for the one step that is taken each time."""

    def __init__(self, name: str, path: str, compiled: str, head: bytes) -> None:
        super().__init__(name, path)
        self._compiled = compiled
        self._head = head

    def exec_module(self, module: ModuleType) -> None:
        data = _read(self._compiled)
        if data[:_HEAD_BYTES] == self._head:
            exec(loads(memoryview(data)[_HEAD_BYTES:]), module.__dict__)
        else:
            super().exec_module(module)


class _Finder:
    """For `sys.meta_path`: modules and packages below ours, beside those that are imported already."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not path or not name.startswith(_OURS):
            return None
        folder, stem = path[0], name.rpartition(".")[2]
        for inside, file in ((None, stem), (f"{folder}/{stem}", "__init__")):
            source = f"{inside or folder}/{file}.py"
            try:
                found = os.stat(source)
            except OSError:
                continue
            head = _BY_TIME + _four_bytes(int(found.st_mtime)) + _four_bytes(found.st_size)
            compiled = f"{inside or folder}/__pycache__/{file}{_COMPILED}"
            loader = _Loader(name, source, compiled, head)
            spec = ModuleSpec(name, loader, origin=source, is_package=inside is not None)
            spec.has_location, spec.cached = True, compiled
            if inside is not None:
                spec.submodule_search_locations = [inside]
            return spec
        return None


def _four_bytes(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


def _read(path: str) -> bytes:
    """Empty where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, os.fstat(fd).st_size)
    except OSError:
        return b""
    finally:
        os.close(fd)


def hasten() -> None:
    """From here on. Not with -O, which has compiled files of other names."""
    if not sys.flags.optimize:
        sys.meta_path.insert(0, _Finder)


def load(*names: str) -> None:
    """Import these of ours, each after those it needs, without going through an import statement for each.

    That costs Python 30 microseconds beside all that is done here. Where `hasten` did not come before, nothing is done.
    """
    if _Finder not in sys.meta_path:
        return
    for name in (_OURS + name for name in names):
        parent, _, stem = name.rpartition(".")
        if name in sys.modules or parent not in sys.modules:
            continue
        spec = _Finder.find_spec(name, sys.modules[parent].__path__)
        if spec is not None:
            setattr(sys.modules[parent], stem, _loaded(spec, spec.loader))


def _loaded(spec: ModuleSpec, loader: Any) -> ModuleType:
    """As `importlib.util.module_from_spec` makes it, which asks for each attribute whether it is there already."""
    module = type(sys)(spec.name)
    module.__dict__.update(
        __spec__=spec, __loader__=loader, __package__=spec.parent, __file__=spec.origin, __cached__=spec.cached
    )
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    sys.modules[spec.name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
