"""The fast parser of submit and click's read the same words the same way."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgather_spool.cli.submit.command import collect, submit
from forgather_spool.cli.submit.options import OPTIONS, split

USUAL = [
    [],
    ["true"],
    ["--"],
    ["--", "--name"],
    ["--", "--", "x"],
    ["cmd", "--", "x"],
    ["-", "x"],
    ["--name", "x", "cmd", "--name", "y"],
    ["--name=x=y", "cmd"],
    ["--name=", "cmd"],
    ["--name", "", "cmd"],
    ["--name", "--", "cmd"],
    ["--name", "--gpus", "cmd"],
    ["--priority", "-5", "cmd"],
    ["--name", "a", "--name", "b", "cmd"],
    ["--env", "A=1", "--env=B", "--env", "A=2", "cmd"],
    ["--env-file", "f", "--cwd", "/", "--script", "-"],
    ["--tty", "--tty", "--json", "--dry-run", "--quiet", "cmd"],
    ["--gpus", "2", "--gpu-memory", "1G", "--time", "1h", "--memory", "1G", "--cpus", "1", "--grace", "5", "cmd", "-x"],
    ["cmd", ""],
    ["", "x"],
    ["cmd\n", "\x1b", "é"],
]
UNUSUAL = [["-h"], ["--help"], ["--nam", "x"], ["--tty=1", "x"], ["--name"], ["-n", "x"], ["-x"], ["--=x"], ["---"]]

WORDS = st.lists(
    st.sampled_from([f"--{option.name}" for option in OPTIONS])
    | st.sampled_from(["--", "-", "", "cmd", "x", "-5", "--name=x", "--env=K=V", "--gpus=", "--cwd=--", "--tty"])
    | st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4
    ),  # an argument holds no NUL
    max_size=8,
)


def by_click(words: list[str]) -> tuple[dict[str, object], list[str]]:
    context = submit.make_context("submit", list(words), help_option_names=["-h", "--help"])
    values = dict(context.params)
    command = values.pop("cmd")
    return collect(values), list(command)


@pytest.mark.parametrize("words", USUAL, ids=" ".join)
def test_both_parsers_agree(words):
    assert split(words) == by_click(words)


@pytest.mark.parametrize("words", UNUSUAL, ids=" ".join)
def test_what_is_unusual_is_left_to_click(words):
    assert split(words) is None


@given(WORDS)
def test_what_the_fast_parser_takes_click_takes_the_same_way(words):
    found = split(words)

    if found is None:
        with pytest.raises((click.UsageError, click.exceptions.Exit)):
            by_click(words)
    else:
        assert found == by_click(words)


def test_each_option_stands_in_the_help():
    help_text = submit.get_help(click.Context(submit, info_name="submit", help_option_names=["-h", "--help"]))

    assert [option.name for option in OPTIONS if f"--{option.name}" not in help_text] == []
