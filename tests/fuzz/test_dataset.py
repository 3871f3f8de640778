"""What a client sends a dataset server, what that is configured with, and what a client resumes from or is sent."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("awscrt")

from forgather_spool.dataset.cursor import parse_state
from forgather_spool.dataset.errors import BrokenStream, StateMismatch, StreamRefused
from forgather_spool.dataset.frames import FrameReader
from forgather_spool.dataset.order import Order, Shuffle
from forgather_spool.dataset_server import policy, settings
from forgather_spool.dataset_server.query import parse_query
from forgather_spool.document import dump, parse
from forgather_spool.errors import BadDocument, UnreadableFile, UsageError
from tests.dataset_server.test_frames import frames
from tests.fuzz import mutate
from tests.fuzz.endure import endure, put

ROWS = 1000
BODIES = (
    {"path": "local/stories", "split": "train[:10%]", "name": "a"},
    {"path": "allenai/c4", "revision": "main", "data_files": {"train": ["a/*.parquet", "b"]}},
    {"path": "/data/stories", "data_files": "x.jsonl"},
)
SERVERS = (
    settings.Settings(local={"stories": "/data/stories"}),
    settings.Settings(local={"stories": "/data/stories"}, no_hf=True),
    settings.Settings(allow_paths=True, allow_downloads=True),
)
QUERIES = [
    "seed=1&epoch=2&position=10&limit=100&shard=1/3&columns=text,id&batch_bytes=65536&codec=lz4",
    "seed=-5&order=window&walk=0:10:2:1:4&frames=1",
    f"order={Order(ROWS).then(Shuffle(3, 1)).text}",
]
CONFIGS = [
    "host: 0.0.0.0\nport: 8766\nlocal:\n  stories: /\nidle_timeout: 1.5\nallow_host: [a.example, b]\n",
    "no_auth: true\nlog_level: DEBUG\nmax_mapped_gb: 10\nworkers: 2\ntls: false\n",
    "tls_cert: ~/c.pem\ntls_key: ~/k.pem\nauth_token_file: ~/t\nquiet_tokens: yes\n",
]
STATE = {
    "version": 1, "fingerprint": "f", "order": Order(ROWS).text, "size": ROWS, "epoch": 1, "stages": ["map a"],
    "group": 2, "rest": {"position": 7, "holes": [[9, 4, 2, 1, 3]]}, "begun": [[[[0, 3, 1, 1, 1]], 1]],
    "lane": {"ranks": 2, "rank": 1, "readers": 2, "reader": 0, "block": 2, "remainder": "drop"},
    "taken": 5, "emitted": 0, "finished": 0,
}  # fmt: skip


def test_a_body_that_asks_for_a_data_set_is_allowed_or_denied() -> None:
    """What is denied is told a status and a reason; what is allowed lies where the operator said."""
    servers = random.Random(5)

    def ask(data: bytes) -> None:
        server = servers.choice(SERVERS)
        try:
            wanted = policy.allowed(parse(data), server)
        except policy.Denied as denied:
            assert denied.status in (400, 403, 404) and str(denied).encode()
            raise BadDocument("$", str(denied)) from None
        assert wanted.source != "path" or server.allow_paths
        assert wanted.source != "local" or wanted.location in server.local.values()
        dump(dict(wanted.asked))

    taken, refused = endure(mutate.documents(BODIES, seed=5), ask, BadDocument, share=4)

    assert taken > 100 and refused > 100, "these bodies try nothing"


def test_a_query_asks_for_rows_that_are_there_or_is_refused() -> None:
    def ask(text: str) -> None:
        pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
        asked = parse_query(pairs, ROWS, ["text", "id"])
        assert asked.walk.count <= len(asked.order) <= ROWS and asked.walk.last < len(asked.order)
        assert asked.columns is None or set(asked.columns) <= {"text", "id"}
        asked.order.at(asked.walk.positions(0, min(asked.walk.count, 5)))

    taken, refused = endure(mutate.texts(QUERIES, seed=6), ask, UsageError, share=2)

    assert taken > 100 and refused > 100, "these queries try nothing"


def test_a_config_of_a_server_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"

    def read(text: str) -> None:
        put(path, text)
        settings.merged({}, settings.read_file(str(path)))

    taken, refused = endure(mutate.texts(CONFIGS, seed=7), read, UnreadableFile, UsageError, share=100)

    assert taken > 20 and refused > 100, "these configs try nothing"


def test_a_saved_state_is_that_of_a_reader_or_is_refused() -> None:
    def resume(data: bytes) -> None:
        state = parse_state(parse(data))
        assert parse_state(parse(dump(state.document()))) == state

    taken, refused = endure(mutate.documents([STATE], seed=8), resume, BadDocument, StateMismatch, share=10)

    assert taken > 100 and refused > 100, "these states try nothing"


def test_a_damaged_stream_is_never_taken_for_a_good_one() -> None:
    """Whatever is damaged: only the last bytes, after the end frame, may be anything."""
    whole = b"".join(frames())
    rows = 60

    def damaged() -> Iterator[bytes]:
        chance = random.Random(9)
        while True:
            yield mutate.damaged(whole, chance)

    def read(data: bytes) -> None:
        assert sum(batch.num_rows for _, batch in FrameReader(io.BytesIO(data))) == rows

    _, refused = endure(damaged(), read, BrokenStream, StreamRefused, share=10)

    assert refused > 100, "these streams try nothing"
