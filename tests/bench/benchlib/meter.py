# SPDX-License-Identifier: Apache-2.0
"""Runs a command to its end and measures it, with everything that it started: also what detached itself (gpg-agent),
because the meter is a subreaper. CPU seconds are the kernel's; memory is the sum of the proportional shares (Pss) of
all its processes, looked at five times a second.

    python3 -m benchlib.meter REPORT COMMAND...    one contender, in a process of its own
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Measured:
    status: int
    seconds: float
    cpu: float
    peak: int
    output: str
    sent: int = 0
    requests: int = 0


def descendants(pid):
    found, todo = [], [pid]
    while todo:
        try:
            for thread in Path(f"/proc/{todo.pop()}/task").iterdir():
                below = [int(p) for p in (thread / "children").read_text().split()]
                found += below
                todo += below
        except OSError:
            pass
    return found


def memory(pid):
    """Pss in bytes; 0 for one that is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def watch(stop, peak):
    me = os.getpid()
    while not stop.wait(0.2):
        peak[0] = max(peak[0], sum(memory(pid) for pid in descendants(me)))


def child(report, command):
    """The process that measures: reaps all, also orphans."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=watch, args=(stop, peak))
    watcher.start()
    began = time.monotonic()
    done = subprocess.Popen(command)
    status = done.wait()
    seconds = time.monotonic() - began
    stop.set()
    watcher.join()
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    Path(report).write_text(json.dumps(
        {"status": status, "seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": peak[0]}))


def run(command, environment, cwd="/"):
    """Measured of one command (a list, or a text for bash)."""
    if isinstance(command, str):
        command = ["bash", "-c", "set -eo pipefail; " + command]
    with tempfile.TemporaryDirectory(prefix="czm.", dir="/tmp") as folder:
        report = Path(folder) / "report"
        done = subprocess.run([sys.executable, "-m", "benchlib.meter", report, *map(str, command)], cwd=cwd,
                              env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        output = done.stdout.decode(errors="replace")
        if not report.exists():
            raise RuntimeError(f"the meter failed: {output[-2000:]}")
        return Measured(output=output, **json.loads(report.read_text()))


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2:])
