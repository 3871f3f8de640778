"""Is this machine fit to run jobs, and is the spool sound? Looks at everything, changes nothing.

Each check is a function of the `Subject` that answers with one `Verdict`. A
check that cannot be made is a finding as well: whoever asks a doctor gets an
answer, never a traceback. The checks are in `machine.py`, `systemd.py`,
`cards.py`, `storage.py` and `leftovers.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from forgather_spool.doctor import cards, leftovers, machine, storage, systemd
from forgather_spool.doctor.finding import Finding, Level, Subject, Verdict
from forgather_spool.errors import ForgatherError
from forgather_spool.host import proc
from forgather_spool.host.detect import why_not_systemd
from forgather_spool.spool.queue import Spool

Check = Callable[[Subject], Verdict]

CHECKS: dict[str, Check] = {
    "python": machine.check_python,
    "open files": machine.check_open_files,
    "clock": machine.check_clock,
    "user manager": systemd.check_user_manager,
    "lingering": systemd.check_lingering,
    "systemd version": systemd.check_version,
    "units": systemd.check_units,
    "limits": systemd.check_limits,
    "journal": systemd.check_journal,
    "cards": cards.check_cards,
    "nvidia-ml-py": cards.check_packages,
    "home": storage.check_home,
    "permissions": storage.check_permissions,
    "file system": storage.check_file_system,
    "space": storage.check_space,
    "settings": leftovers.check_settings,
    "dispatcher": leftovers.check_dispatcher,
    "running jobs": leftovers.check_running,
    "queue": leftovers.check_names,
    "cancelled jobs": leftovers.check_cancels,
    "rejected files": leftovers.check_rejected,
    "temporary files": leftovers.check_temporary,
    "other hosts": leftovers.check_other_hosts,
}


def examine(spool: Spool, environ: Mapping[str, str]) -> list[Finding]:
    """One finding for each check, in the order of `CHECKS`. Takes a few seconds; raises nothing."""
    subject = Subject(spool, environ, proc.host_name(), _no_manager(environ), time.time())
    return [_made(name, check, subject) for name, check in CHECKS.items()]


def _made(name: str, check: Check, subject: Subject) -> Finding:
    try:
        verdict = check(subject)
    except ForgatherError as error:
        return Finding(name, Level.FAIL, str(error), error.hint or "mend the file or thing it names")
    except Exception as error:  # one check that breaks must not keep the others from being made
        what = f"could not be checked: {type(error).__name__}: {error}"
        return Finding(name, Level.FAIL, what, "mend what it names, or report it as a bug")
    return Finding(name, verdict.level, verdict.says, verdict.mend)


def _no_manager(environ: Mapping[str, str]) -> str | None:
    try:
        return why_not_systemd(environ)
    except Exception as error:  # told by the check of the user manager
        return f"{error}"
