"""Which client is dropped: one that takes nothing of what waits for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("pyarrow")

from forgather_spool.dataset_server import streams


def test_what_leaves_the_kernel_alone_is_taken_too() -> None:
    """Too little of it to write more: nothing new was sent, and less of it waits."""
    seen, dropped = SimpleNamespace(waiting=90), []
    body: Any = SimpleNamespace(
        sent_bytes=100, waiting_bytes=lambda: seen.waiting, abort=lambda: dropped.append(seen.waiting)
    )

    async def story() -> None:
        watch = streams._Watch(body, 1000)
        for seen.waiting in (90, 80, 70, 70):
            watch._look()
        watch.stop()

    asyncio.run(story())
    assert dropped == [70] and seen.waiting == 70
