"""Configs: YAML as people read it, files that extend files, and what is filled in. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgather_spool.errors import BadArgument, BadDocument, UsageError
from forgather_spool.training import config, yaml_file
from forgather_spool.training.arguments import FIELDS, Argument, declared
from forgather_spool.training.config import Command, Config, Script, Train
from forgather_spool.training.config_fields import CONFIG, DATA, TOKENIZER, TRAIN
from forgather_spool.training.config_fields import MODEL as MODEL_KEYS
from forgather_spool.training.substitute import substituted

MODEL = "model: {config: {model_type: gpt2}}"


@pytest.fixture
def resolved(tmp_path: Path) -> Any:
    """``resolved("name: a", lr=0.1)``: a config of this text and arguments; `extra`: files beside it."""

    def resolve(text: str, *, extra: dict[str, str] | None = None, **given: Any) -> Config:
        for name, content in {"train.yaml": text, **(extra or {})}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return config.resolve(config.load(str(tmp_path / "train.yaml")), given, {})

    return resolve


# -- YAML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1e3", 1000.0), ("6.02e23", 6.02e23), (".5", 0.5), ("-3", -3), ("0x1F", 31), ("0o17", 15),
        ("0123", 123),
        ("true", True), ("False", False), ("no", "no"), ("on", "on"), ("yes", "yes"), ("~", None), ("", None),
        ("2026-11-21", "2026-11-21"), ("1:30:00", "1:30:00"), ("1_000", "1_000"), ("'1e-3'", "1e-3"),
        ("1.2.3", "1.2.3"),
        (".inf", ".inf"), ("<<", "<<"), ("=", "="), ("12h", "12h"), ("e3", "e3"),
    ],
)  # fmt: skip
def test_words_mean_what_people_expect(text: str, value: object) -> None:
    """YAML 1.1 makes text of 1e-3, a date of 2026-11-21, 5400 of 1:30:00 and false of no. We do not."""
    found = yaml_file.parse(f"key: {text}", "f")["key"]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
        ("a: {b: 1, b: 2}", "line 1: the key 'b' stands twice"),
        ("1: a", "the key '1' is not text"),
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("a: !!python/object:os.system x", "tags"),
        ("a: 1e999", "larger than any number"),
        ("a: 123456789012345678901234567890", "larger than any number"),
        ("a: [1", "line"),
        ("a:\n\t- 1", "line 2"),
        ("a: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: \x00", "f"),
    ],
)  # fmt: skip
def test_what_nobody_can_mean_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(BadDocument, match="f") as caught:
        yaml_file.parse(text, "f")

    assert says in str(caught.value)


def test_what_is_written_is_read_back_the_same() -> None:
    """Also texts that look like numbers or dates, which need quotes, and floats as Python spells them."""
    document = {
        "a": ["1e-3", "no", "true", "", "~", "0x1F", "é"],
        "b": [1e-05, 1e22, True, None, 3],
        "c": {"d": {}, "e": []},
    }

    assert yaml_file.parse(yaml_file.written(document), "f") == document


def test_a_file_that_is_a_list_is_no_config(resolved: Any) -> None:
    with pytest.raises(BadDocument, match=r"train.yaml: expected a mapping"):
        resolved("- a\n- b")


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${lr}", 0.001), ("lr=${lr}", "lr=0.001"), ("${flag}", True), ("${flag}${n}", "true3"), ("$$", "$"),
        ("$${lr}", "${lr}"),
        ("${env:HOME}", "/home/me"), ("${env:NONE:-x y}", "x y"), ("${env:EMPTY:-x}", "x"), ("${env:NONE:-}", ""),
        ("${nothing}", None),
    ],
)  # fmt: skip
def test_references_are_filled_in_and_keep_their_type(text: str, value: object) -> None:
    names = {"lr": 0.001, "flag": True, "n": 3, "nothing": None}

    found = substituted({"a": [text]}, names, {"HOME": "/home/me", "EMPTY": ""}, where="$")

    assert found == {"a": [value]}


def test_what_was_filled_in_is_not_looked_at_again() -> None:
    assert substituted("${a}", {"a": "${b}", "b": 1}, {}, where="$") == "${b}"


@pytest.mark.parametrize("text", ["${unknown}", "${env:UNSET}", "costs 5$", "${}", "${env:}", "${a b}", "${unclosed"])
def test_a_reference_to_nothing_names_the_field(text: str) -> None:
    with pytest.raises(BadDocument, match=r"\$\.train\.args\[1\]"):
        substituted({"train": {"args": [1, text]}}, {}, {}, where="$")


def test_the_error_names_the_file_the_reference_stands_in(resolved: Any) -> None:
    with pytest.raises(BadDocument, match=r"^base.yaml: \$\.env\.A: \$\{oops\} is not a dynamic argument"):
        resolved("extends: base.yaml\ncommand: [a]", extra={"base.yaml": "env: {A: '${oops}'}"})


# -- extends ----------------------------------------------------------------------------------------------------------


def test_a_config_lies_over_those_it_extends(resolved: Any) -> None:
    """Mappings are merged, lists replaced, null takes away; three levels, in another folder."""
    found = resolved(
        "extends: base/mid.yaml\nenv: {B: over, C: null}\nargs: [z]",
        extra={
            "base/mid.yaml": "extends: ../root.yaml\nenv: {A: mid}\nscript: mid.py",
            "root.yaml": "env: {A: root, B: root, C: root}\nargs: [x, y]\nnproc_per_node: 4",
        },
    )

    assert found.env == {"A": "mid", "B": "over"}
    assert found.nproc_per_node == 4
    assert isinstance(found.program, Script)
    assert found.program.args == ("z",)


def test_null_takes_a_whole_program_away(resolved: Any) -> None:
    found = resolved(
        "extends: base.yaml\ntrain: null\ncommand: [a]", extra={"base.yaml": f"train: {{{MODEL}, data: {{text: a}}}}"}
    )

    assert found.program == Command(("a",))


def test_files_that_extend_each_other_are_refused(resolved: Any) -> None:
    with pytest.raises(BadDocument, match=r"\$\.extends: goes in a circle: train.yaml -> b.yaml -> train.yaml"):
        resolved("extends: b.yaml", extra={"b.yaml": "extends: train.yaml"})


def test_extending_nothing_says_which_file_is_missing(resolved: Any) -> None:
    with pytest.raises(BadDocument, match=r"train.yaml: \$\.extends: no such file: .*/gone.yaml"):
        resolved("extends: gone.yaml")


def test_a_config_that_is_not_there_lists_what_is(resolved: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("command: [a]")

    with pytest.raises(UsageError) as caught:
        config.load(str(tmp_path / "trian.yaml"))

    assert "other.yaml" in caught.value.hint


# -- what a config may say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("comand: [a]", r"\$\.comand: no such key"),
        ("command: [a]\nscript: b.py", r"\$: has command and script"),
        ("name: a", r"says nothing to run"),
        ("command: []", r"\$\.command: must not be empty"),
        ("command: [[a]]", r"\$\.command\[0\]: expected text"),
        ("command: 'a \"b'", r"\$\.command: cannot be split"),
        ("command: [a]\nargs: [b]", r"\$\.args: goes with script"),
        ("command: [a]\nnproc_per_node: two", r"\$\.nproc_per_node: expected integer, got string"),
        ("command: [a]\nnproc_per_node: 0", r"\$\.nproc_per_node: 0 is less than 1"),
        ("command: [a]\nenv: {A: [1]}", r"\$\.env\.A: expected text"),
        ("command: [a]\nname: a/b", r"\$\.name"),
        ("train: 1", r"\$\.train: expected object, got integer"),
        ("train: {modle: 1}", r"\$\.train\.modle: no such key"),
        (f"train: {{{MODEL}}}", r"\$\.train\.data: is required"),
        (f"train: {{{MODEL}, data: {{}}}}", r"\$\.train\.data: give exactly one of text, dataset and stream"),
        (f"train: {{{MODEL}, data: {{text: a, server: b}}}}", r"\$\.train\.data\.server: goes with stream"),
        ("train: {model: {}, data: {text: a}}", r"\$\.train\.model: give exactly one of config and pretrained"),
        ("train: {model: {config: {}}, data: {text: a}}", r"\$\.train\.model\.config\.model_type: is required"),
        (f"train: {{{MODEL}, data: {{text: a}}, block_size: 1}}", r"\$\.train\.block_size: 1 is less than 2"),
        (f"train: {{{MODEL}, data: {{text: a}}, tokenizer: {{kind: words}}}}", r"kind: 'words' is not one of"),
        (f"train: {{{MODEL}, data: {{text: a}}, tokenizer: {{kind: pretrained}}}}", r"tokenizer\.path"),
        ("command: [a]\ndynamic_args: {a-b: {}}", r"\$\.dynamic_args\.a-b: is no name"),
        ("command: [a]\ndynamic_args: {a: 1}", r"\$\.dynamic_args\.a: expected a mapping"),
        ("command: [a]\ndynamic_args: {a: {type: number}}", r"dynamic_args\.a\.type: 'number' is not one of"),
        ("command: [a]\ndynamic_args: {a: {type: int, default: x}}", r"a\.default: 'x' is not a whole number"),
        ("command: [a]\ndynamic_args: {a: {type: int, default: 9, max: 5}}", r"a\.default: 9 is more than 5"),
        ("command: [a]\ndynamic_args: {a: {default: x, required: true}}", r"dynamic_args\.a\.required"),
        ("command: [a]\ndynamic_args: {a: {min: 1}}", r"dynamic_args\.a: min and max are for int and float"),
        ("command: [a]\ndynamic_args: {a: {choices: x}}", r"dynamic_args\.a\.choices: expected a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_field(resolved: Any, text: str, says: str) -> None:
    with pytest.raises(BadDocument, match=f"^train.yaml: .*{says}"):
        resolved(text)


def test_a_type_that_a_reference_brings_is_checked_too(resolved: Any) -> None:
    text = "command: [a]\nnproc_per_node: ${n}\ndynamic_args: {n: {type: str}}"

    assert resolved(text.replace("str", "int"), n=2).nproc_per_node == 2
    with pytest.raises(BadDocument, match=r"\$\.nproc_per_node: expected integer, got string"):
        resolved(text, n="2")


def test_a_command_line_is_split_before_it_is_filled_in(resolved: Any) -> None:
    """A value with a blank in it stays one word, and no shell ever sees it."""
    found = resolved("command: run --at '${a}' ${a}\ndynamic_args: {a: {}}", a="x; rm -rf y")

    assert found.program == Command(("run", "--at", "x; rm -rf y", "x; rm -rf y"))


def test_relative_paths_count_from_the_config(resolved: Any, tmp_path: Path) -> None:
    found = resolved(f"train: {{{MODEL}, data: {{text: [python-stdlib, 'corpus/*.txt']}}}}")

    assert isinstance(found.program, Train)
    assert found.program.document["data"]["text"] == ["python-stdlib", f"{tmp_path}/corpus/*.txt"]
    assert found.output_dir == f"{tmp_path}/output_models/train"
    assert found.project == str(tmp_path)


def test_a_pretrained_model_brings_its_tokenizer(resolved: Any, tmp_path: Path) -> None:
    found = resolved("train: {model: {pretrained: m}, data: {text: a}}")

    assert isinstance(found.program, Train)
    assert found.program.document["tokenizer"] == {"kind": "pretrained", "path": f"{tmp_path}/m"}


# -- dynamic arguments ------------------------------------------------------------------------------------------------


def argument(**declaration: Any) -> Argument:
    return declared({"learning_rate": declaration}, "/project", "$")[0]


@pytest.mark.parametrize(
    ("declaration", "text", "value"),
    [
        ({"type": "float"}, "1e-3", 0.001), ({"type": "int", "min": 1}, "7", 7), ({"type": "bool"}, "yes", True),
        ({"type": "bool"}, "FALSE", False), ({}, "1e-3", "1e-3"), ({"choices": ["a", "b"]}, "b", "b"),
        ({"type": "path"}, "/x/../y", "/y"),
    ],
)  # fmt: skip
def test_a_word_of_the_command_line_gets_its_type(declaration: Any, text: str, value: object) -> None:
    found = argument(**declaration).parsed(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("declaration", "text", "says"),
    [
        ({"type": "float"}, "fast", "'fast' is not a number"), ({"type": "float"}, "nan", "'nan' is not a number"),
        ({"type": "int"}, "1.5", "is not a whole number"), ({"type": "int", "max": 3}, "4", "4 is more than 3"),
        ({"type": "float", "min": 0}, "-1", "-1.0 is less than 0"), ({"choices": ["a"]}, "b", "b is not one of a"),
        ({"type": "bool"}, "maybe", "is not true or false"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_the_flag(declaration: Any, text: str, says: str) -> None:
    with pytest.raises(BadArgument, match=f"^--learning-rate: .*{says}") as caught:
        argument(**declaration).parsed(text)

    assert caught.value.exit_code == 1


def test_what_has_no_default_is_required(resolved: Any) -> None:
    text = "command: ['${a_b}']\ndynamic_args: {a_b: {type: int}, c: {}, d: {required: false}}"

    with pytest.raises(BadArgument, match="missing: --a-b, --c"):
        resolved(text)

    assert resolved(text, a_b=1, c="x").values == {"a_b": 1, "c": "x", "d": None}


def test_an_extending_config_may_give_an_argument_its_default(resolved: Any) -> None:
    base = "command: ['${lr}']\ndynamic_args: {lr: {type: float, max: 1, help: peak}}"

    found = resolved("extends: base.yaml\ndynamic_args: {lr: {default: 1e-4}}", extra={"base.yaml": base})

    assert found.program == Command(("0.0001",))
    assert found.arguments[0].help == "peak"


def test_pairs_of_the_command_line_are_parsed_and_unknown_ones_named() -> None:
    arguments = (argument(type="float"),)

    assert config.given_values(arguments, ("learning-rate=1", "learning_rate=2e-4")) == {"learning_rate": 2e-4}
    with pytest.raises(BadArgument, match="--dynamic-arg lr: the config has no such argument"):
        config.given_values(arguments, ("lr=1",))
    with pytest.raises(BadArgument, match="expected NAME=VALUE"):
        config.given_values(arguments, ("learning_rate",))


def test_the_reference_names_every_key() -> None:
    """A key that a config may have stands in docs/reference/config.md."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "config.md").read_text()
    inner = {"model": MODEL_KEYS, "tokenizer": TOKENIZER, "data": DATA}
    keys = [*CONFIG, *FIELDS, *(key for key in TRAIN if key not in inner)]
    keys += [f"{name}.{key}" for name, fields in inner.items() for key in fields]

    assert [key for key in keys if f"`{key}`" not in page] == []
