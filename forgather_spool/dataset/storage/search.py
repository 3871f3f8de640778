"""Finding files below a folder, or by a pattern, and giving up in time where there is too much else.

A data set's folder holds data. "/" and a home hold a million other files, and
whoever names them, by mistake or to somebody else's server, is told so after
the first `OTHERS`. A pattern means what it means to `glob`: ``**`` any folders,
hidden ones left out. A folder that contains itself, by way of a link, is gone into once.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable

from forgather_spool.errors import Missing

OTHERS = 20_000  # files that are not wanted, and folders without any that is
FILES = 1_000_000  # those that are

Identity = tuple[int, int]


class Search:
    """One look around; `named` is what a person called it."""

    def __init__(self, named: str) -> None:
        self._named = named
        self._others = self._files = 0

    def below(self, folder: str, wanted: Callable[[str], bool]) -> list[str]:
        """The files below `folder` whose names are wanted, by name. Hidden and linked folders are not gone into.

        Raises:
            Missing: there is too much else.
        """
        found: list[str] = []
        ahead = [folder]
        while ahead:
            entries = self._listed(ahead.pop())
            folders = [entry.path for entry in entries if _is_folder(entry, linked=False)]
            ahead += folders
            files = [entry.path for entry in entries if wanted(entry.name) and _is_file(entry)]
            self._count(len(entries) - len(folders), files)
            found += files
        return sorted(found)

    def matching(self, pattern: str) -> list[str]:
        """The files that `pattern` means, by name. Raises Missing: there is too much else."""
        found: set[str] = set()
        start = os.sep if pattern.startswith(os.sep) else ""
        ahead: list[tuple[str, list[str], tuple[Identity, ...]]] = [(start, pattern.lstrip(os.sep).split(os.sep), ())]
        while ahead:
            folder, (part, *rest), above = ahead.pop()
            if part == "**":
                ahead.append((folder, rest or ["*"], ()))
                above = above or (_identity(folder),)
            elif not glob.has_magic(part):
                if rest:
                    ahead.append((f"{folder}{part}{os.sep}", rest, ()))
                elif os.path.isfile(folder + part):
                    found.add(folder + part)
                continue
            entries = self._listed(folder or os.curdir, hidden=part.startswith("."))
            folders = [entry.name for entry in entries if _is_folder(entry, linked=True)]
            if part == "**":
                if rest and not glob.has_magic(rest[0]):  # else the folder is listed once more, and counted
                    self._count(0, [])
                for inner in [f"{folder}{name}{os.sep}" for name in folders]:
                    if (identity := _identity(inner)) not in above:
                        ahead.append((inner, [part, *rest], (*above, identity)))
                continue
            fits = re.compile(fnmatch.translate(part)).match
            files = [folder + entry.name for entry in entries if not rest and fits(entry.name) and _is_file(entry)]
            self._count(len(entries) - len(folders), files)
            found.update(files)
            ahead += [(f"{folder}{name}{os.sep}", rest, ()) for name in folders if rest and fits(name)]
        return sorted(found)

    def _listed(self, folder: str, *, hidden: bool = False) -> list[os.DirEntry[str]]:
        """What lies in `folder`; nothing where that cannot be read."""
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if hidden or not entry.name.startswith(".")]
        except OSError:
            return []

    def _count(self, names: int, files: list[str]) -> None:
        self._files += len(files)
        self._others += names - len(files) + (not files)
        if self._others > OTHERS:
            message = f"{self._named}: no data set: looked at {OTHERS:,} names that are none of it, and there are more"
            raise Missing(message, hint="name the data set's own folder, or its files")
        if self._files > FILES:
            raise Missing(f"{self._named}: more than {FILES:,} files", hint="name those of the data set")


def _is_folder(entry: os.DirEntry[str], *, linked: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=linked)
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(folder: str) -> Identity:
    """(0, 0) for one that is gone."""
    try:
        found = os.stat(folder or os.curdir)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
