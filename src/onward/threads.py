"""How torch's threads wait for each other: decided before torch is imported, which is when OpenMP reads it."""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from pathlib import Path

_LOADAVG = Path("/proc/loadavg")
_LOOKS, _SECONDS_BETWEEN = 5, 0.004
# Longer than most pauses within a step: 5,000 to 20,000 were measured alike, 1,000 as slow as sleeping.
_SPINS = "10000"


def choose_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads spin for a moment before they sleep if nothing else runs on the machine; if something does, not.

    Waking a thread costs more than many a product: on two cores that are idle, spinning makes training a small model
    and writing with a large one twice as quick. Beside a busy process it makes them two to four times slower, since a
    thread waits, spinning, for one that has no core. Who set OMP_WAIT_POLICY or GOMP_SPINCOUNT has chosen already.
    """
    if not environment.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        is_busy = others_run()
        environment["OMP_WAIT_POLICY" if is_busy else "GOMP_SPINCOUNT"] = "PASSIVE" if is_busy else _SPINS


def others_run(loadavg: Path = _LOADAVG) -> bool:
    """Whether something beside this thread runs now, and does at a few looks one after another; where unknown, yes.

    Source: proc_loadavg(5): the number before the slash is that of the threads that run or could run.
    """
    for look in range(_LOOKS):
        if look:
            time.sleep(_SECONDS_BETWEEN)
        try:
            n_running = int(loadavg.read_text().split()[3].split("/")[0])
        except (OSError, ValueError, IndexError):
            return True
        if n_running <= 1:
            return False
    return True
