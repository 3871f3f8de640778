"""What `forgather top` lays over its screen: a question, or its help."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

HELP = """\
up, down, page up, page down   select a job
c        cancel it: out of the queue, or TERM and then KILL
h, r     hold it; release it
+, -     its priority, one up or down
f        follow its output, or let it stand
l        a higher log, a lower one
/        filter by words; Escape shows all again
?        this
q        leave; nothing stops
"""


class Ask(ModalScreen[bool]):  # type: ignore[misc]
    """A question with yes and no; or, without a question mark, something to read."""

    BINDINGS: ClassVar = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q,question_mark,enter", "answer(False)", "No"),
    ]

    def __init__(self, text: str, keys: str) -> None:
        super().__init__()
        self._text = text
        self._keys = keys

    def compose(self) -> ComposeResult:
        yield Vertical(Label(self._text, markup=False), Label(self._keys, markup=False, classes="keys"))

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
