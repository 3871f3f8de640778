"""Settings: the command line wins, then the file, then the default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click.testing
import pytest

pytest.importorskip("aiohttp")

from forgather_spool.cli.dataset import server as command
from forgather_spool.cli.dataset import server_queue as dataset_server_queue
from forgather_spool.dataset_server import settings as module
from forgather_spool.dataset_server.settings import Settings, merged, read_file
from forgather_spool.dataset_server.tokens import token_for
from forgather_spool.errors import ForgatherError, UnreadableFile, UsageError
from forgather_spool.spool.paths import Paths

SWITCHES = ("no_hf", "allow_paths", "allow_downloads", "no_auth", "insecure", "quiet_tokens", "regen_token")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``started(*words)``: the settings that `start` with these words would serve with."""
    monkeypatch.setenv("FORGATHER_HOME", str(tmp_path / "home"))
    seen: list[Settings] = []
    monkeypatch.setattr(command, "_serve", seen.append)

    def start(*words: str) -> Settings:
        result = click.testing.CliRunner().invoke(command.dataset_server, ["start", *words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return seen.pop()

    return start


def write_default(tmp_path: Path, text: str) -> Path:
    path = Path(Paths(str(tmp_path / "home")).dataset_config)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_said_gives_the_safe_defaults(started: Any) -> None:
    found = started()

    assert (found.host, found.port, found.log_level, found.workers) == ("127.0.0.1", 8766, "INFO", 1)
    assert not any((found.no_auth, found.no_hf, found.allow_paths, found.allow_downloads, found.insecure))


def test_a_word_that_equals_the_default_wins_over_the_file(tmp_path: Path, started: Any) -> None:
    """The predecessor took it for not said (fault 25)."""
    write_default(tmp_path, "host: 0.0.0.0\nport: 9000\nlog_level: DEBUG\nworkers: 4\n")

    found = started("--host", "127.0.0.1", "--port", "8766", "-l", "INFO", "--workers", "1")

    assert (found.host, found.port, found.log_level, found.workers) == ("127.0.0.1", 8766, "INFO", 1)


@pytest.mark.parametrize("key", SWITCHES)
def test_every_switch_of_the_file_can_be_turned_off(tmp_path: Path, started: Any, key: str) -> None:
    """And on. In the predecessor, only on."""
    write_default(tmp_path, f"{key}: true\n")
    assert getattr(started(), key) is True

    assert getattr(started(dataset_server_queue._OFF[key]), key) is False


def test_what_is_not_said_comes_from_the_file_then_from_the_default(tmp_path: Path, started: Any) -> None:
    write_default(tmp_path, "port: 9000\n")

    found = started("--no-hf")

    assert (found.port, found.no_hf, found.host) == (9000, True, "127.0.0.1")


def test_local_names_add_up_and_the_command_line_wins_one_in_both(tmp_path: Path, started: Any) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    write_default(tmp_path, f"local:\n  a: {tmp_path}/one\n  b: {tmp_path}/two\n")

    found = started("--local", f"b={tmp_path}/three", "--local", f"c={tmp_path}/one")

    assert found.local == {"a": f"{tmp_path}/one", "b": f"{tmp_path}/three", "c": f"{tmp_path}/one"}


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        ("no_auth: true", ["--auth-token", "x"], (False, "x", None)),
        ("auth_token: y", ["--no-auth"], (True, None, None)),
        ("no_auth: true", ["--auth"], (False, None, None)),
        ("auth_token: y", ["--regen-token"], (False, None, None)),
        ("auth_token: y", ["--port", "1"], (False, "y", None)),
    ],
)
def test_how_clients_authenticate_is_one_setting(
    tmp_path: Path, started: Any, file: str, words: list[str], expected: tuple[Any, ...]
) -> None:
    """A file's --no-auth must not open a server whose command line names a token."""
    write_default(tmp_path, file)

    found = started(*words)

    assert (found.no_auth, found.auth_token, found.auth_token_file) == expected


def test_a_file_named_and_missing_is_an_error_and_the_default_one_is_not(tmp_path: Path, started: Any) -> None:
    assert started() == Settings()
    with pytest.raises(UsageError, match="no such file"):
        started("--config", str(tmp_path / "none.yaml"))


def test_a_file_named_is_read_in_place_of_the_default(tmp_path: Path, started: Any) -> None:
    write_default(tmp_path, "port: 9000\nno_hf: true")
    other = tmp_path / "other.yaml"
    other.write_text("port: 9001")

    found = started("--config", str(other))

    assert (found.port, found.no_hf) == (9001, False)


@pytest.mark.parametrize(
    "text",
    [
        "prot: 1", "port: eight", "port: 70000", "port: true", "no_hf: 1", "no_hf: yes please", "log_level: LOUD",
        "local: [a, b]", "local: {a: 5}", "local: {a/b: /}", "local: {a: /does/not/exist}", "workers: 0",
        "no_auth: true\nauth_token: x", "config: other.yaml", "help: true", "- a list", "a text", "port: [",
        "1: 2", "idle_timeout: -1", "allow_host: name", "tls_cert: /x", "? {a: b}\n: 1", "a: &x [*x]",
        "local: {2024: /}", "local: {null: /}", "host: ' '", "host: '[]'",
    ],
)  # fmt: skip
def test_what_a_config_cannot_mean_is_an_error(tmp_path: Path, text: str) -> None:
    """Typos come to light at once. No traceback."""
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises((UsageError, UnreadableFile)):
        merged({}, read_file(str(path)))


def test_what_a_unit_does_not_see_below_tmp_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user does see it, and cannot know of PrivateTmp=."""
    hints = []
    for pid in (os.getpid(), 1):
        monkeypatch.setenv("SYSTEMD_EXEC_PID", str(pid))
        with pytest.raises(UsageError, match="nothing at that path") as refused:
            merged({"local": {"a": "/var/tmp/that is not there"}}, {})
        hints.append(refused.value.hint)

    assert "BindReadOnlyPaths=/var/tmp/that is not there" in hints[0] and not hints[1]


def test_an_address_may_be_written_as_in_an_url_and_a_level_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("host: '[::1]'\nlog_level: debug")

    found = merged({}, read_file(str(path)))

    assert (found.host, found.log_level) == ("::1", "DEBUG")
    assert merged({"host": " 127.0.0.1 "}, {}).host == "127.0.0.1"


def test_a_wrong_token_in_a_file_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        merged({}, {"auth_token": ["s3cret"]})

    assert "s3cret" not in str(caught.value) + caught.value.hint


def test_every_setting_is_a_flag_a_key_and_a_field() -> None:
    """So the three cannot drift apart."""
    flags = {option.name for option in command._options()}

    assert flags == {field.name for field in module.fields(Settings)}
    assert set(module._TYPES) | {"local", "allow_host", "tls"} | set(SWITCHES) == flags


def test_a_job_gets_words_that_give_the_same_settings(tmp_path: Path, started: Any) -> None:
    (tmp_path / "a b").mkdir()
    words = ["--no-hf", "--auth", "--no-tls", "--port", "9000", "--local", f"x={tmp_path}/a b", "--allow-host", "n"]
    given = {
        "no_hf": True,
        "no_auth": False,
        "tls": False,
        "port": 9000,
        "local": {"x": f"{tmp_path}/a b"},
        "allow_host": ["n"],
    }

    assert started(*dataset_server_queue.words_of(given, None)) == started(*words)


def test_a_token_never_stands_in_a_jobs_words(started: Any) -> None:
    with pytest.raises(UsageError, match="no token"):
        started("--enqueue", "--auth-token", "s3cret")


# -- tokens ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"))


def test_a_token_is_made_once_for_a_port_and_kept(paths: Paths) -> None:
    first, again = (token_for(Settings(), paths, 8766) for _ in range(2))
    other = token_for(Settings(), paths, 8767)

    assert first.text == again.text != other.text
    assert (first.kept, again.kept) == (False, True)
    assert first.text is not None and len(first.text) == 64 and int(first.text, 16)
    path = Path(paths.dataset_token(8766))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_regen_token_replaces_it(paths: Paths) -> None:
    old = token_for(Settings(), paths, 8766)

    new = token_for(Settings(regen_token=True), paths, 8766)

    assert new.text != old.text and new.rotated
    assert token_for(Settings(), paths, 8766).text == new.text


def test_a_given_token_is_used_and_written_nowhere(paths: Paths, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    file.chmod(0o600)

    assert token_for(Settings(auth_token="given"), paths, 8766).text == "given"
    assert token_for(Settings(auth_token_file=str(file)), paths, 8766).text == "from-a-file"
    assert token_for(Settings(no_auth=True), paths, 8766).text is None
    assert not Path(paths.dataset_server).exists()


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), ("\n", 0o600), ("a b", 0o600), ("ä", 0o600), ("x", 0o644)])
def test_a_token_file_that_is_none_stops_the_start(paths: Paths, tmp_path: Path, content: str, mode: int) -> None:
    """An empty one would let in whoever sends an empty token."""
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)

    with pytest.raises(ForgatherError):
        token_for(Settings(auth_token_file=str(file)), paths, 8766)


def test_an_emptied_token_file_of_ours_stops_the_start(paths: Paths) -> None:
    token_for(Settings(), paths, 8766)
    Path(paths.dataset_token(8766)).write_text("")

    with pytest.raises(UsageError, match="empty"):
        token_for(Settings(), paths, 8766)


def test_no_settings_show_their_token() -> None:
    assert "s3cret" not in repr(Settings(auth_token="s3cret"))
    assert "s3cret" not in repr(token_for(Settings(auth_token="s3cret"), Paths("/nowhere"), 1))
