"""What may go to a terminal: names and messages made harmless.

A job's name, a path or an argument can hold an escape sequence that clears the
screen, retitles the window or answers for the user. Everything shown that
somebody else wrote goes through `shown`.
"""

from __future__ import annotations


def shown(text: str) -> str:
    r"""`text` on one line, with what is not printable escaped: ``\n``, ``\x1b``, ``\u202e``, ``\udc80``.

    That is C0, DEL and C1 controls, line and paragraph separators, what turns
    the writing direction, and halves of surrogate pairs (bytes that are no
    UTF-8). Harmless text comes back as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
