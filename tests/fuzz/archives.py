"""Archives nobody exported: the members of one that somebody did, spoilt one by one, then the bytes of the whole."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator

from forgather_spool.document import dump
from tests.fuzz import mutate, seeds

NAMES = (
    "../../x", "/etc/x", "jobs", "jobs/", f"jobs/{seeds.JOB}", f"jobs/{seeds.JOB}/", f"jobs/{seeds.JOB}/../x",
    f"jobs/{seeds.JOB}/.x", f"jobs/{seeds.JOB}/a/b/c/d/e", f"jobs/{seeds.JOB}/a\nb", f"jobs/{seeds.JOB}/auth_token",
    f"jobs/{seeds.JOB}/result.json/x", f"jobs/{seeds.JOB}/attempt-2/result.json", f"jobs/{seeds.JOB}/attempt-x",
    "jobs/q_1_1/result.json", "done/x/y", f"done/../{seeds.JOB}.json", f"done//{seeds.JOB}.json", "é", "\udcff",
    "a" * 300, "forgather-export.json", "forgather-export-end.json", f"jobs/{seeds.JOB}/imported.json",
)  # fmt: skip
TYPES = (
    tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
    tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, b"?", b"\xff",
)  # fmt: skip
PAX = (
    {"path": "../x"}, {"size": "9999999999999"}, {"size": "-1"}, {"size": "x"}, {"path": "a\0b"}, {"mtime": "nan"},
    {"linkpath": "/etc/passwd"}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
    {"GNU.sparse.map": "0,1,x"}, {"uid": "1e999"}, {"hdrcharset": "BINARY", "path": "\udcff"},
)  # fmt: skip


def archives(seed: int) -> Iterator[bytes]:
    """Most are tars of sound checksums with something in them that no export writes."""
    chance = random.Random(seed)
    specs, results = mutate.documents(seeds.SPECS, seed), mutate.documents(seeds.RESULTS, seed)
    while True:
        members = _members(chance, specs, results)
        for _ in range(chance.choice((0, 1, 1, 2))):
            at = chance.randrange(len(members))
            match chance.randrange(4):
                case 0:
                    del members[at]
                case 1:
                    members.insert(at, chance.choice(members))
                case 2:
                    members.append(members.pop(at))
                case _:
                    members[at] = (_spoilt(members[at][0], chance), members[at][1])
            members = members or [(tarfile.TarInfo("x"), b"")]
        whole = _tar(members)
        yield mutate.damaged(whole, chance) if chance.random() < 0.2 else whole


def _members(
    chance: random.Random, specs: Iterator[bytes], results: Iterator[bytes]
) -> list[tuple[tarfile.TarInfo, bytes]]:
    """One job with two attempts, its spec or a result spoilt or not."""
    folder = f"jobs/{seeds.JOB}"
    spec = next(specs) if chance.random() < 0.3 else dump(seeds.SPEC)
    result = next(results) if chance.random() < 0.3 else dump(chance.choice(seeds.RESULTS))
    files = (
        ("forgather-export.json", dump({"version": 1})),
        (f"{folder}/output.log", b"x" * chance.randrange(2000)),
        (f"{folder}/result.json", dump(seeds.RESULTS[0])),
        (f"{folder}/attempt-2/result.json", result),
        (f"done/2026-11-21/{seeds.JOB}.json", spec),
        ("forgather-export-end.json", b'{"jobs":1}'),
    )
    return [(tarfile.TarInfo(name), data) for name, data in files]


def _spoilt(member: tarfile.TarInfo, chance: random.Random) -> tarfile.TarInfo:
    spoilt = tarfile.TarInfo(member.name)
    match chance.randrange(5):
        case 0:
            spoilt.name = chance.choice(NAMES)
        case 1:
            spoilt.type, spoilt.linkname = chance.choice(TYPES), chance.choice(("", "/etc/passwd", "../x", seeds.JOB))
        case 2:
            spoilt.pax_headers = dict(chance.choice(PAX))
        case 3:
            spoilt.size = chance.choice((0, 1, 511, 513, 1 << 20, 1 << 33, (1 << 63) - 1))
        case _:
            spoilt.mtime, spoilt.uid, spoilt.mode = chance.choice((-1, 1e18, 0.5)), 1 << 30, 0o7777
    return spoilt


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """By hand, so that a header may say what its member does not hold."""
    out = bytearray()
    for member, data in members:
        member.size = member.size or len(data)
        out += member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)
        member.size = 0 if member.size == len(data) else member.size
    return bytes(out + bytes(1024))
