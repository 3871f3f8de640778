"""stop.json, kill.json, give_way.json: somebody asks for this job to be stopped.

The last is a dispatcher's, for the job's cards: a name of its own, so that a
person who stops the same job is not told that somebody did so before.
"""

from __future__ import annotations

from forgather_spool import schema
from forgather_spool.document import Document
from forgather_spool.errors import BadDocument, StorageFailed, UnreadableFile
from forgather_spool.spool import files
from forgather_spool.spool.queue import Spool
from forgather_spool.spool.watch import IN_CREATE, IN_MOVED_TO, Watch

LOOK_AGAIN_S = 60.0  # another host's request on NFS wakes nobody
LOOK_AGAIN_BLIND_S = 5.0  # no inotify instance was left for us


class StopRequests:
    """Those of one attempt; each is told once. `fileno` tells of them from `listen` on."""

    def __init__(self, spool: Spool, job_id: str, attempt: int, watch: Watch) -> None:
        self._paths = {
            spool.paths.stop_request(job_id, attempt, force=False): False,
            spool.paths.give_way(job_id, attempt): False,
            spool.paths.stop_request(job_id, attempt, force=True): True,
        }
        self._folder = spool.paths.attempt(job_id, attempt)
        self._watch = watch
        self._missed = False

    def listen(self) -> None:
        """Look once more after that: what came before is not heard of."""
        self._watch.add(self._folder, IN_CREATE | IN_MOVED_TO)

    @property
    def look_again_s(self) -> float:
        """How long to wait for the next look, whatever is or is not heard until then."""
        return LOOK_AGAIN_BLIND_S if self._missed or not self._watch.paths() else LOOK_AGAIN_S

    def fileno(self) -> int:
        """Readable when something came into the attempt's folder."""
        return self._watch.fileno()

    def heard(self) -> bool:
        """Whether what came may be a request; call it when `fileno` is readable."""
        names = {path.rpartition("/")[2] for path in self._paths}
        return any(name in names or mask & Watch.OVERFLOW for _, name, mask in self._watch.read())

    def look(self) -> list[tuple[bool, Document]]:
        """New requests as ``(force, document)``."""
        found = []
        self._missed = False
        for path, force in list(self._paths.items()):
            try:
                request = _read(path, force)
            except StorageFailed:  # a bad moment is no request; the job goes on
                self._missed = True
                continue
            if request is not None:
                del self._paths[path]
                found.append((force, request))
        return found


def _read(path: str, force: bool) -> Document | None:
    try:
        return schema.check(files.read_document(path), schema.STOP_REQUEST)
    except FileNotFoundError:
        return None
    except (BadDocument, UnreadableFile) as error:  # unreadable, and still somebody put it there
        return {"force": force, "grace_s": None, "by": f"a request that cannot be read ({error})"}
