"""A training loop of no library: steps, saves and stops as it is asked. Its first argument is its options as JSON.

    job_id, control   of TrainerControl; `control` are further keyword arguments
    saves             "ok", "fail" (raises OSError), "forget" (does not say so), "wait" (until the file `gate` is there)
    loss              what it reports; default 1/step
    linger            after training it goes on until it is killed

While a file `hold` is in its folder a step does not end, and it leaves a file `held`. Its checkpoints are
`checkpoint-<step>`; at the end it prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from forgather_spool.trainer import TrainerControl

OPTIONS = json.loads(sys.argv[1])


def wait_while(condition: Callable[[], bool]) -> None:
    while condition():
        time.sleep(0.005)


def held() -> bool:
    if os.path.exists("hold"):
        open("held", "w").close()
        return True
    return False


def save(control: TrainerControl, step: int) -> None:
    how = OPTIONS.get("saves", "ok")
    if how == "wait":
        open("saving", "w").close()
        wait_while(lambda: not os.path.exists("gate"))
    if how == "fail":
        control.save_failed(OSError(28, "No space left on device"))
    elif how != "forget":
        open(f"checkpoint-{step}", "w").close()
        control.saved(f"checkpoint-{step}")


def greet(args: dict[str, object]) -> dict[str, object]:
    if "fail" in args:
        raise ValueError(str(args["fail"]))
    return {"nan": float("nan")} if "nan" in args else {"hello": args.get("who")}


def main() -> None:
    control = TrainerControl(OPTIONS.get("job_id"), max_steps=1_000_000, **OPTIONS.get("control", {}))
    control.on("greet", greet)
    step = evaluations = 0
    while not control.should_stop:
        step += 1
        time.sleep(0.005)
        wait_while(held)
        control.report(loss=float(OPTIONS.get("loss", 1 / step)), epoch=step / 1000)
        if control.poll(step):
            evaluations += control.should_evaluate
            if control.should_save:
                save(control, step)
    print(json.dumps({"step": step, "aborted": control.should_abort, "evaluations": evaluations}), flush=True)
    if OPTIONS.get("linger"):
        control.close()
        open("lingering", "w").close()
        wait_while(lambda: True)


main()
