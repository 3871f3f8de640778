"""Which variables go with a job, and what is taken for a secret."""

from __future__ import annotations

import pytest

from forgather_spool.cli.submit.environment import asked, chosen, from_file, looks_secret, not_recorded, secret_in
from forgather_spool.errors import UsageError

SHELL = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "HF_HOME": "/data/hf",
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "HF_TOKEN_PATH": "/home/a/token",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "WANDB_API_KEY": "0123456789abcdef",
    "WANDB_PROJECT": "p",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "4",
    "CUDA_VISIBLE_DEVICES": "0",
    "CUDA_HOME": "/usr/local/cuda",
    "FORGATHER_HOME": "/elsewhere",
    "FORGATHER_MINE": "x",
    "AWS_SECRET_ACCESS_KEY": "s",
    "SSH_AUTH_SOCK": "/run/s",
    "https_proxy": "http://user:secret@proxy:3128",
    "http_proxy": "http://proxy:3128",
    "HOME": "/home/a",
    "DISPLAY": ":0",
}


def test_a_job_gets_what_training_reads_and_nothing_of_the_desktop():
    recorded, withheld = chosen(SHELL)

    assert sorted(recorded) == [
        "CUDA_HOME", "FORGATHER_MINE", "HF_HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_TOKEN_PATH", "LC_ALL",
        "OMP_NUM_THREADS", "PATH", "TOKENIZERS_PARALLELISM", "WANDB_PROJECT", "http_proxy",
    ]  # fmt: skip
    assert withheld == ["HF_TOKEN", "WANDB_API_KEY", "https_proxy"]
    assert all(recorded[name] == SHELL[name] for name in recorded)


def test_what_is_no_text_cannot_be_recorded_and_is_named():
    environ = {"PYTHONPATH": "/caf\udce9", "HF_TOKEN": "x" * 8}

    _, withheld = chosen(environ)

    assert not_recorded(withheld, environ) == [
        "not recorded: HF_TOKEN (it looks secret); --env HF_TOKEN records it in a file only you can read",
        "not recorded: PYTHONPATH (no UTF-8 text)",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "DB_PASSWD",
        "MY_CREDENTIALS",
        "SSH_PRIVATE_KEY",
        "OPENAI_APIKEY",
        "COMET_API_KEY",
        "api-key",
        "hub.token",
    ],
)
def test_a_secret_is_known_by_its_name(name):
    assert looks_secret(name, "some value")


@pytest.mark.parametrize("name", ["TOKENIZERS_X", "MAX_TOKENS", "PAD_TOKEN", "SORT_KEY", "HF_TOKEN_PATH", "KEYBOARD"])
def test_what_only_sounds_like_a_secret_is_none(name):
    assert not looks_secret(name, "some value")


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["train", "--token", "abc"], "--token"),
        (["train", "--api-key=abc"], "--api-key"),
        (["train", "--wandb_api_key", "abc"], "--wandb_api_key"),
        (["env", "HF_TOKEN=abc", "train"], "HF_TOKEN"),
        (["train", "key=abc"], "key"),
        (["curl", "https://me:pw@host/x"], "https://..."),
        (["login", "hf_abcdefghijklmnopq"], "hf_a..."),
        (["train", "hub=hf_abcdefghijklmnopq"], "hub=..."),
        (["train", "--pad-token", "<pad>", "--max-tokens", "5"], None),
        (["train", "--use-auth-token", "true"], None),
        (["train", "--token-file", "/x"], None),
        (["train", "--password", "--verbose"], None),
        (["python", "-c", "token = 1"], None),
        ([], None),
    ],
)
def test_a_secret_on_the_command_line_is_found_and_not_repeated(argv, found):
    assert secret_in(argv) == found


def test_a_variable_is_set_or_copied_and_the_last_one_wins():
    assert asked(["A=1", "HF_TOKEN", "B=x=y", "A=2", "EMPTY="], SHELL) == {
        "A": "2",
        "HF_TOKEN": SHELL["HF_TOKEN"],
        "B": "x=y",
        "EMPTY": "",
    }


@pytest.mark.parametrize("item", ["=x", "", "NOT_SET", "two words=1", "CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES"])
def test_what_is_no_variable_is_refused(item):
    with pytest.raises(UsageError, match="--env"):
        asked([item], SHELL)


def test_a_file_of_variables_is_read_line_by_line(tmp_path):
    file = tmp_path / "job.env"
    file.write_text("# how we run\n\nexport A=1\nB = 2\nC='with spaces'\nD=\"q\"\nE=it's\nHF_HOME\n")

    assert from_file(str(file), SHELL) == {
        "A": "1", "B": " 2", "C": "with spaces", "D": "q", "E": "it's", "HF_HOME": "/data/hf",
    }  # fmt: skip


@pytest.mark.parametrize(("content", "problem"), [(b"A=1\nnot a variable=2\n", "line 2"), (b"A=\xff\n", "UTF-8")])
def test_a_bad_file_of_variables_is_refused_with_its_place(tmp_path, content, problem):
    file = tmp_path / "job.env"
    file.write_bytes(content)

    with pytest.raises(UsageError, match=problem):
        from_file(str(file), SHELL)


def test_a_file_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(UsageError, match="No such file"):
        from_file("/nowhere/job.env", SHELL)
