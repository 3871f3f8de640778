"""The screen of `forgather top`, with textual. What it shows and does is in `model.py`.

Sleeps until a key is pressed, the spool changes (inotify), or the selected log
grows; without either it looks every `AGES_S`, as ages grow and cards get busy.
A look is taken beside the screen, and as seldom as it is slow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Footer, Input, Log, Static

from forgather_spool.cli.show import shown
from forgather_spool.cli.table import clipped
from forgather_spool.cli.top import model
from forgather_spool.cli.top.ask import HELP, Ask
from forgather_spool.cli.top.model import LogFeed, Look, Row, cells_of, widths_of
from forgather_spool.errors import ForgatherError
from forgather_spool.spool.changes import Changes
from forgather_spool.spool.queue import Spool

AGES_S = 5.0
AT_MOST_EVERY_S = 0.3
SHARE = 5.0  # rest so many times as long as a look took
KEPT_LOG_LINES = 5000


class TopApp(App[None]):  # type: ignore[misc]
    """One spool on one screen."""

    CSS = """
    #headline { height: 1; text-style: bold; }
    #cards { height: auto; max-height: 8; color: $text-muted; }
    #jobs { height: 3fr; }
    #about { height: 1; background: $panel; }
    #log { height: 2fr; scrollbar-size-horizontal: 0; }
    .big #jobs { height: 1fr; }
    .big #log { height: 4fr; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    Ask { align: center middle; }
    Ask > Vertical {
        width: auto; max-width: 90%; height: auto; border: round $primary; padding: 0 2; background: $surface;
    }
    Ask .keys { color: $text-muted; }
    """
    BINDINGS: ClassVar = [
        Binding("c", "cancel", "Cancel"),
        Binding("h", "act('hold')", "Hold"),
        Binding("r", "act('release')", "Release"),
        Binding("plus,equals_sign", "priority(1)", "Pri+", key_display="+"),
        Binding("minus", "priority(-1)", "Pri-", key_display="-"),
        Binding("f", "follow", "Follow"),
        Binding("l", "bigger_log", "Log"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "no_filter", "All", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),  # as it ends every other watching here
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool
        self._changes = Changes(spool)
        self._last = Look("looking ...", (), ())
        self._cells: dict[str, tuple[str, ...]] = {}
        self._words = ""
        self._feed: LogFeed | None = None
        # By name and not by query: while a question is asked, a query finds only what is on its screen.
        self._headline = Static(id="headline", markup=False)
        self._cards = Static(id="cards", markup=False)
        self._table = DataTable(id="jobs", cursor_type="row")
        self._about = Static(id="about", markup=False)
        self._log = Log(id="log", max_lines=KEPT_LOG_LINES)
        self._field = Input(id="filter", placeholder="words that must all be there")
        self._looking = False
        self._due = False
        self._not_before = 0.0

    # -- the screen -------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield from (self._headline, self._cards, self._table, self._about, self._log, self._field, Footer())

    def on_mount(self) -> None:
        self._log.can_focus = False
        self._table.focus()
        asyncio.get_running_loop().add_reader(self._changes.fileno(), self._heard)
        self.set_interval(AGES_S, self._look_soon)
        self._look_soon()

    def on_unmount(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._changes.fileno())
        self._changes.close()
        self._close_feed()

    def on_resize(self) -> None:
        self._cells = {}
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not self._table.is_attached:  # we are leaving
            return
        self._headline.update(clipped(self._last.headline, self.size.width))
        cards = self._cards
        cards.display = bool(self._last.cards)
        cards.update("\n".join(clipped(line, self.size.width) for line in self._last.cards))
        self._draw_jobs([row for row in self._last.rows if row.fits(self._words)])
        self._draw_selected()

    def _draw_jobs(self, rows: list[Row]) -> None:
        """Cell by cell where the same jobs are shown in the same order; else anew, the same job selected."""
        table = self._table
        widths = widths_of(self.size.width)
        cells = {row.job_id: cells_of(row, widths) for row in rows}
        if list(cells) == list(self._cells) and table.columns:
            for job_id, new in cells.items():
                for column, (before, now) in enumerate(zip(self._cells[job_id], new, strict=True)):
                    if before != now:
                        table.update_cell(job_id, str(column), Text(now))
        else:
            selected, place = self._selected_id(), table.cursor_row
            table.clear(columns=True)
            for column, (title, width) in enumerate(widths.items()):
                table.add_column(title, width=width, key=str(column))
            for job_id, new in cells.items():
                table.add_row(*map(Text, new), key=job_id)  # a str would be read as markup
            ids = list(cells)
            if ids:
                at = ids.index(selected) if selected in cells else min(place, len(ids) - 1)
                table.move_cursor(row=at, animate=False)
        self._cells = cells

    def _draw_selected(self) -> None:
        if not self._table.is_attached:
            return
        row = self._selected()
        if row is None:
            self._about.update("no jobs" if not self._words else f"no job fits {shown(self._words)}")
            self._close_feed()
            self._log.clear()
            return
        about = f"{row.job_id}  {row.name}  {row.remark}"
        self._about.update(clipped(about, self.size.width))
        if self._feed is None or self._feed.job_id != row.job_id:
            self._open_feed(row.job_id)

    # -- looking ----------------------------------------------------------------------------------------------------

    def _heard(self) -> None:
        if self._changes.take():
            self._look_soon()

    def _look_soon(self) -> None:
        """Now, or as soon as the last look has rested long enough; several calls are one look."""
        if self._due or self._looking:
            self._due = True
            return
        self._due = True
        self.set_timer(max(0.001, self._not_before - time.monotonic()), self._begin_look)

    def _begin_look(self) -> None:
        self._due, self._looking = False, True
        self.run_worker(self._look, thread=True, exit_on_error=True)

    def _look(self) -> None:
        """In a thread of its own."""
        began = time.monotonic()
        try:
            found = model.look_at_all(self._spool)
        except ForgatherError as error:
            found = Look(shown(str(error)), (), self._last.rows)
        took_s = time.monotonic() - began
        self.call_from_thread(self._looked, found, max(AT_MOST_EVERY_S, SHARE * took_s))

    def _looked(self, found: Look, rest_s: float) -> None:
        self._looking, self._last = False, found
        self._not_before = time.monotonic() + rest_s
        self._draw()
        if self._due:
            self._due = False
            self._look_soon()

    # -- the log ----------------------------------------------------------------------------------------------------

    def on_data_table_row_highlighted(self) -> None:
        self._draw_selected()

    def _open_feed(self, job_id: str) -> None:
        self._close_feed()
        self._log.clear()
        self._feed = LogFeed(self._spool, job_id)
        asyncio.get_running_loop().add_reader(self._feed.fileno(), self._log_grew)
        self._log_grew()

    def _log_grew(self) -> None:
        if self._feed is None:
            return
        try:
            lines, more = self._feed.read()
        except ForgatherError as error:
            lines, more = [shown(str(error))], False
        if lines:
            self._log.write_lines(lines)
        if more:
            self.call_later(self._log_grew)

    def _close_feed(self) -> None:
        if self._feed is not None:
            asyncio.get_running_loop().remove_reader(self._feed.fileno())
            self._feed.close()
            self._feed = None

    # -- keys -------------------------------------------------------------------------------------------------------

    def action_cancel(self) -> None:
        row = self._selected()
        if row is None or not model.may_act(row):
            self._say("it has ended already", ok=False)
            return
        question = f"Cancel {clipped(row.name, 40)} ({row.job_id}, {row.state.value})?"

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(lambda: model.cancel(self._spool, row.job_id))

        self.push_screen(Ask(question, "y: yes    n: no"), answered)

    def action_act(self, name: str) -> None:
        row = self._selected()
        if row is not None:
            act = {"hold": model.hold, "release": model.release}[name]
            self._do(lambda: act(self._spool, row.job_id))

    def action_priority(self, by: int) -> None:
        row = self._selected()
        if row is not None:
            self._do(lambda: model.change_priority(self._spool, row.job_id, by))

    def action_follow(self) -> None:
        log = self._log
        log.auto_scroll = not log.auto_scroll
        if log.auto_scroll:
            log.scroll_end(animate=False)
        self._say("follows the output" if log.auto_scroll else "the output stands")

    def action_bigger_log(self) -> None:
        self.screen_stack[0].toggle_class("big")

    def action_filter(self) -> None:
        field = self._field
        field.add_class("shown")
        field.focus()

    def action_no_filter(self) -> None:
        self._field.value = ""
        self._hide_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._draw()

    def on_input_submitted(self) -> None:
        self._hide_filter()

    def action_help(self) -> None:
        self.push_screen(Ask(HELP, "any of Escape, Enter, q: back"))

    def _hide_filter(self) -> None:
        self._field.remove_class("shown")
        self._table.focus()

    def _do(self, act: Callable[[], str]) -> None:
        said, ok = model.attempted(act)
        self._say(said, ok=ok)
        self._look_soon()

    def _say(self, text: str, *, ok: bool = True) -> None:
        self.notify(shown(text), severity="information" if ok else "error", timeout=4, markup=False)

    def _selected_id(self) -> str | None:
        ids = list(self._cells)
        at = self._table.cursor_row
        return ids[at] if 0 <= at < len(ids) else None

    def _selected(self) -> Row | None:
        job_id = self._selected_id()
        return next((row for row in self._last.rows if row.job_id == job_id), None)
