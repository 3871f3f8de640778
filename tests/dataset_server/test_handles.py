"""What is closed to make room, and what never is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from forgather_spool.dataset_server.handles import Handle, Handles

Story = Callable[[Handles], Coroutine[Any, Any, None]]


def loaded(wanted: Any) -> Any:
    """A data set of 100 bytes, which says whether it was closed."""
    rows = SimpleNamespace(mapped_bytes=100, closed=False)
    rows.close = lambda: setattr(rows, "closed", True)
    return rows


def played(folder: Path, story: Story, *, limit: int = 10, limit_bytes: int = 0) -> None:
    async def with_handles() -> None:
        handles = Handles(loaded, lambda asked: want("any"), str(folder), limit=limit, limit_bytes=limit_bytes)
        try:
            await story(handles)
        finally:
            handles.close()

    asyncio.run(asyncio.wait_for(with_handles(), 60))


def want(path: str) -> Any:
    return SimpleNamespace(asked={"path": path}, source="local")


def names(handles: Handles) -> list[object]:
    return [handle.asked["path"] for handle in handles.listed()]


def closed(handle: Handle) -> bool:
    return bool(vars(handle.rows)["closed"])


@pytest.mark.parametrize("limits", [{"limit": 2}, {"limit_bytes": 200}])
def test_what_is_being_read_is_not_closed_to_make_room(tmp_path: Path, limits: dict[str, int]) -> None:
    """Though it was asked for longest ago. The one after it goes."""

    async def story(handles: Handles) -> None:
        first, second = [await handles.load(want(path)) for path in ("first", "second")]
        with handles.reading(first):
            await handles.load(want("third"))

            assert names(handles) == ["first", "third"]
            assert not closed(first) and closed(second)

    played(tmp_path, story, **limits)


@pytest.mark.parametrize("limits", [{"limit": 1}, {"limit_bytes": 100}])
def test_room_is_made_when_the_reading_ends(tmp_path: Path, limits: dict[str, int]) -> None:
    """Neither could go while one was read and the other had just been asked for."""

    async def story(handles: Handles) -> None:
        first = await handles.load(want("first"))
        with handles.reading(first):
            await handles.load(want("second"))
            assert names(handles) == ["first", "second"]

        assert names(handles) == ["second"] and closed(first)

    played(tmp_path, story, **limits)


def test_what_is_unloaded_while_it_is_read_is_closed_after_it(tmp_path: Path) -> None:
    async def story(handles: Handles) -> None:
        handle = await handles.load(want("first"))
        with handles.reading(handle):
            assert handles.unload(handle.name) == 1
            assert not names(handles) and not closed(handle)

        assert closed(handle)

    played(tmp_path, story)
