"""`forgather top`: what is on the screen, and what its keys do. The app runs as it does on a terminal."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from forgather_spool.cli import watching
from forgather_spool.cli.top import model as top_model
from forgather_spool.cli.top.command import top
from forgather_spool.errors import Missing, UsageError
from forgather_spool.job import State
from forgather_spool.spool.batch import submit_one
from forgather_spool.spool.look import look
from forgather_spool.spool.queue import Spool
from tests import builders

pytest.importorskip("textual")
from forgather_spool.cli.top.app import TopApp

SIZES = [(80, 24), (120, 40)]
PATIENCE = 600  # passes of 20 ms


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FORGATHER_HOST_KIND", "process")
    monkeypatch.setenv("FORGATHER_HOST", builders.HOST)
    monkeypatch.setenv("FORGATHER_NO_WAKE", "1")
    return Spool().create()


class Screen:
    """The app, its keys, and the text on its screen."""

    def __init__(self, app: Any, pilot: Any) -> None:
        self.app = app
        self.pilot = pilot

    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    async def shows(self, *words: str) -> list[str]:
        """The lines, once all `words` are among them."""
        return await self.until(lambda: all(word in "\n".join(self.lines()) for word in words), f"{words}")

    async def until(self, condition: Callable[[], bool], what: str) -> list[str]:
        for _ in range(PATIENCE):
            if condition():
                return self.lines()
            await self.pilot.pause(0.02)
        raise AssertionError(f"waited for {what}; the screen:\n" + "\n".join(self.lines()))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


def on_screen(spool: Spool, story: Callable[[Screen], Awaitable[None]], size: tuple[int, int] = (100, 30)) -> None:
    async def run() -> None:
        app = TopApp(spool)
        async with app.run_test(size=size, notifications=True) as pilot:
            await story(Screen(app, pilot))

    asyncio.run(run())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_queue_and_the_log_are_on_one_screen(spool: Spool, size: tuple[int, int]) -> None:
    """What runs is on top, and its output below; nothing is wider than the terminal."""
    builders.submitted(spool, name="[red]next")
    runs = builders.running(spool, name="train-7b", output=b"step 1\r\x1b[31mstep 2\nloss 3.5\n")
    builders.ended(spool, name="gone", outcome={"kind": "exited", "exit_code": 3})

    async def story(screen: Screen) -> None:
        lines = await screen.shows("train-7b", "[red]next", "exited 3", "loss 3.5", runs[1], "c Cancel")
        assert len(lines) == size[1] and max(map(len, lines)) <= size[0]
        assert "1 active" in lines[0] and "1 waiting" in lines[0] and "dispatcher asleep" in lines[0]
        states = [line.split()[0] for line in lines if line.startswith((" running", " waiting", " done"))]
        assert states == ["running", "waiting", "done"]
        assert any("\\x1b[31mstep 2" in line for line in lines)

    on_screen(spool, story, size)


def test_what_changes_is_shown_without_a_key(spool: Spool) -> None:
    entry = builders.running(spool, name="train", output=b"one\n")

    async def story(screen: Screen) -> None:
        await screen.shows("one")
        builders.write(spool, entry, b"two\n")
        await screen.shows("two")
        builders.submitted(spool, name="fresh")
        await screen.shows("fresh")
        builders.end(spool, entry)
        lines = await screen.shows("exited 0")
        assert "0 active" in lines[0] and "1 waiting" in lines[0]

    on_screen(spool, story)


def test_members_of_an_array_can_be_told_apart(spool: Spool) -> None:
    submit_one(spool, {"argv": ["true"], "name": "sweep", "array": {"indexes": "3,5"}})

    async def story(screen: Screen) -> None:
        lines = await screen.shows("sweep[3]", "sweep[5]")
        assert sum("waiting" in line for line in lines[1:]) == 2

    on_screen(spool, story)


def test_a_cancel_is_asked_about_first(spool: Spool) -> None:
    entry = builders.submitted(spool, name="mine")

    async def story(screen: Screen) -> None:
        await screen.shows("mine")
        await screen.press("c")
        await screen.shows("Cancel mine", "y: yes")
        await screen.press("n")
        await screen.until(lambda: "y: yes" not in "\n".join(screen.lines()), "the question to go")
        assert look(spool, entry[1]).state is State.WAITING
        await screen.press("c")
        await screen.shows("y: yes")
        await screen.press("y")
        await screen.until(lambda: look(spool, entry[1]).state is State.DONE, "the cancel")
        await screen.shows("cancelled")

    on_screen(spool, story)


def test_hold_release_and_priority_act_on_the_selected_job(spool: Spool) -> None:
    builders.submitted(spool, name="first")
    second = builders.submitted(spool, name="second")

    async def story(screen: Screen) -> None:
        await screen.shows("first", "second")
        await screen.press("down", "h")
        await screen.until(lambda: look(spool, second[1]).state is State.HELD, "the hold")
        await screen.shows("held  ")
        await screen.press("r")
        await screen.until(lambda: look(spool, second[1]).state is State.WAITING, "the release")
        await screen.shows("waiting    0 ")
        await screen.press("plus", "plus", "minus")
        await screen.until(lambda: look(spool, second[1]).priority == 1, "the priority")
        assert look(spool, second[1]).state is State.WAITING

    on_screen(spool, story)


def test_the_selection_stays_with_its_job_when_others_come(spool: Spool) -> None:
    """A key pressed a moment later must not hit another job."""
    builders.submitted(spool, name="first")
    mine = builders.submitted(spool, name="mine")

    async def story(screen: Screen) -> None:
        await screen.shows("first", "mine")
        await screen.press("down")
        builders.submitted(spool, name="urgent", priority=9)
        await screen.shows("urgent")
        assert screen.app._selected_id() == mine[1]

    on_screen(spool, story)


def test_an_ended_job_cannot_be_acted_on(spool: Spool) -> None:
    entry = builders.ended(spool, name="over")

    async def story(screen: Screen) -> None:
        await screen.shows("over")
        await screen.press("c")
        lines = await screen.shows("it has ended already")
        assert not any("y: yes" in line for line in lines)
        await screen.press("plus")
        await screen.shows("does not wait any more")
        assert look(spool, entry[1]).state is State.DONE

    on_screen(spool, story)


def test_a_filter_shows_what_fits_and_escape_all_again(spool: Spool) -> None:
    for name in ("eval-a", "train-a", "eval-b"):
        builders.submitted(spool, name=name)

    async def story(screen: Screen) -> None:
        await screen.shows("train-a")
        await screen.press("slash", *"EVAL b")
        await screen.until(lambda: len(screen.app._cells) == 1, "one job")
        await screen.press("enter")
        await screen.press("slash", *"xyz", "enter")
        await screen.shows("no job fits")
        assert len(screen.app._cells) == 0
        await screen.press("escape")
        lines = await screen.shows("eval-a", "train-a", "eval-b")
        assert "no job fits" not in "\n".join(lines)

    on_screen(spool, story)


@pytest.mark.parametrize("keys", [["ctrl+c"], ["slash", "e", "ctrl+c"]])
def test_ctrl_c_leaves_as_well(spool: Spool, keys: list[str]) -> None:
    async def story(screen: Screen) -> None:
        await screen.shows("no jobs")
        await screen.press(*keys)
        await screen.until(lambda: not screen.app.is_running, "the end")

    on_screen(spool, story)


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_terminal_that_cannot_draw_is_none(monkeypatch: pytest.MonkeyPatch, term: str | None) -> None:
    """As of an editor's shell: what moves the cursor would stand there as text."""
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    assert watching.can_draw()
    monkeypatch.setenv("TERM", term or "")
    if term is None:
        monkeypatch.delenv("TERM")
    assert not watching.can_draw()


def test_keys_are_explained_and_q_leaves(spool: Spool) -> None:
    async def story(screen: Screen) -> None:
        await screen.shows("no jobs")
        await screen.press("question_mark")
        await screen.shows("leave; nothing stops")
        await screen.press("escape", "l", "f")
        await screen.shows("the output stands")
        await screen.press("q")
        await screen.until(lambda: not screen.app.is_running, "the end")
        assert screen.app.return_code == 0

    on_screen(spool, story)


def test_a_damaged_spool_is_said_and_the_screen_stays(spool: Spool) -> None:
    builders.submitted(spool, name="mine")
    builders.damage(spool.paths.dispatch)
    builders.damage(spool.paths.gpu_policy)

    async def story(screen: Screen) -> None:
        lines = await screen.shows("dispatch.json")
        assert screen.app.is_running and len(lines) == 30

    on_screen(spool, story, (300, 30))  # so that the whole path is there


def test_a_long_queue_is_read_only_as_far_as_it_is_shown(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        builders.submitted(spool)
    monkeypatch.setattr(top_model, "PER_SECTION", 10)

    found = top_model.look_at_all(spool)

    assert len(found.rows) == 10 and "30 waiting" in found.headline


def test_without_a_terminal_or_textual_it_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    no_terminal = CliRunner().invoke(top, [])
    assert isinstance(no_terminal.exception, UsageError) and "--watch" in no_terminal.exception.hint

    program = "import sys; sys.modules['textual'] = None; sys.modules['textual.app'] = None\n"
    program += "sys.stdin.isatty = sys.stdout.isatty = lambda: True\n"
    program += "from forgather_spool.cli.top.command import top\nfrom forgather_spool.errors import Missing\n"
    program += "try: top.main([], standalone_mode=False)\nexcept Missing as error: print(error, error.hint)"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    assert "not installed" in said and "[top]" in said and Missing.exit_code == 69
