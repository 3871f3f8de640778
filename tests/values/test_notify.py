"""Who is told, and what: decided from text and documents alone."""

from __future__ import annotations

import pytest

from forgather_spool.errors import UsageError
from forgather_spool.notify import message
from forgather_spool.notify.target import Command, Desktop, Mail, Webhook, parse
from forgather_spool.spool.notices import whom_to_tell

JOB = {
    "job_id": "q_1738012412345_a1b2c3d4", "name": None, "argv": ["train", "a\nb"], "host": "box",
    "submitted_at": "2026-11-21T07:00:00Z", "started_at": None, "ended_at": "2026-11-21T07:01:00Z",
    "output_path": "/x/output.log", "outcome": {"kind": "exited", "exit_code": 3}, "exit_status": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("command:cat > /tmp/x", Command("cat > /tmp/x")),
        ("mail:me@example.org", Mail("me@example.org")),
        ("desktop", Desktop()),
        ("https://hooks.example.org:8443/T0/secret", Webhook("https://hooks.example.org:8443/T0/secret")),
        ("none", None),
    ],
)
def test_a_word_names_who_is_told(text, target):
    assert parse(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "command:", "command: ", "mail:", "mail:-t", "mail:a b@c", "mail:a@b,c@d", "mail:a@b\nBcc: x", "ftp://x/y",
     "http:", "http://", "https:///path", "http://a b/", "http://[::1", "slack", "Desktop"],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_with_the_forms(text):
    """An address that begins with a dash would be an option of sendmail, a line end a header."""
    with pytest.raises(UsageError) as refused:
        parse(text)

    assert "mail:ADDRESS" in refused.value.hint


def test_a_webhook_is_shown_without_its_secret():
    assert str(parse("https://me:pw@hooks.example.org:8443/T0/secret?key=1")) == "https://hooks.example.org:8443/..."


@pytest.mark.parametrize(
    ("spec", "dispatch", "told"),
    [
        ({}, {}, ([], "end")),
        ({"notify": ["desktop"], "notify_on": "failure"}, {"notify": ["mail:a@b"]}, (["desktop"], "failure")),
        ({}, {"notify": ["mail:a@b"], "notify_on": "failure"}, (["mail:a@b"], "failure")),
        (
            {"notify": [], "notify_on": "end"},
            {"notify": ["mail:a@b"], "notify_on": "failure"},
            (["mail:a@b"], "failure"),
        ),
        ({"notify": ["none"]}, {"notify": ["mail:a@b"]}, ([], "end")),
        ({"notify": 7}, {}, ([], "end")),
    ],
)
def test_the_job_says_who_is_told_else_the_settings(spec, dispatch, told):
    assert whom_to_tell(spec, dispatch) == told


def test_a_subject_is_one_line_and_says_how_it_ended():
    assert message.subject(JOB, "exited 3") == "train a b: exited 3 on box (q_1738012412345_a1b2c3d4)"


def test_a_mail_ends_with_the_last_lines_of_the_output():
    lines = message.body(JOB, "exited 3", "\n".join(f"line {n}" for n in range(50))).splitlines()

    assert lines[0] == "job:       q_1738012412345_a1b2c3d4"
    assert lines[-message.LAST_LINES :] == [f"line {n}" for n in range(30, 50)]
    assert not any(line.startswith("started") for line in lines)


def test_a_command_finds_the_host_then_the_job_then_us():
    """What a dispatcher was started with is none of its business, and it has no cards."""
    base = {"HOME": "/home/me", "PATH": "/bin", "PYTHONPATH": "/ours", "FORGATHER_IDLE_S": "1"}

    found = message.environment(JOB, base, {"PATH": "/mine", "CUDA_VISIBLE_DEVICES": "0", "A": "b"}, "/h")

    assert found == {
        "HOME": "/home/me", "PATH": "/mine", "A": "b", "CUDA_VISIBLE_DEVICES": "", "FORGATHER_HOME": "/h",
        "FORGATHER_JOB_ID": JOB["job_id"], "FORGATHER_JOB_NAME": "", "FORGATHER_OUTCOME": "exited",
        "FORGATHER_EXIT_STATUS": "3",
    }  # fmt: skip
