"""How long `import onward` and `onward --help` take, beside Python itself and `import torch`.

Each is timed as a whole process, in turn, several times; medians. Run: .venv/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 9
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import onward": [sys.executable, "-c", "import onward"],
    "onward --help": [sys.executable, "-m", "onward.cli.app", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Print the table."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    print(f"{'':16}{'median':>10}{'best':>10}")
    for name, values in seconds.items():
        print(f"{name:16}{statistics.median(values):>8.3f} s{min(values):>8.3f} s")


if __name__ == "__main__":
    main()
