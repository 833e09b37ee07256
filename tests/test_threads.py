from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onward import threads


def test_idle_spins_and_busy_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_busy, expected in ((False, {"GOMP_SPINCOUNT": "10000"}), (True, {"OMP_WAIT_POLICY": "PASSIVE"})):
        monkeypatch.setattr(threads, "others_run", lambda is_busy=is_busy: is_busy)
        environment: dict[str, str] = {}
        threads.choose_waiting(environment)
        assert environment == expected


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_was_chosen_stays(given: dict[str, str]) -> None:
    environment = dict(given)
    threads.choose_waiting(environment)
    assert environment == given


@pytest.mark.parametrize(
    ("content", "busy"),
    [
        ("0.00 0.01 0.05 1/234 5678\n", False),
        ("9.00 9.01 9.05 1/234 5678\n", False),  # it was busy a minute ago; it is not now
        ("0.00 0.01 0.05 2/234 5678\n", True),
        ("", True),
        ("no numbers here at/all 1\n", True),
    ],
)
def test_a_look_at_what_runs(tmp_path: Path, content: str, busy: bool) -> None:
    loadavg = tmp_path / "loadavg"
    loadavg.write_text(content)
    assert threads.others_run(loadavg) is busy


def test_where_nothing_can_be_known_threads_sleep(tmp_path: Path) -> None:
    assert threads.others_run(tmp_path / "absent")


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="the system has no /proc/loadavg")
def test_a_busy_process_is_seen() -> None:
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        assert threads.others_run()
        busy.kill()
