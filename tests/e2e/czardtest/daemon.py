# SPDX-License-Identifier: Apache-2.0
"""A czard that stays, on a World: signals, what it says while it runs, what it and its helpers use.

    with Daemon(world) as d:
        mark = d.mark()
        d.signal(signal.SIGUSR1)
        d.until("poll-done", mark)
"""

import os
import re
import signal
import sqlite3
import threading
import time
from pathlib import Path

from .common import PATIENCE
from .run import Entry, children


def until(what, test, timeout=PATIENCE, said=lambda: ""):
    """Waits until test() is true; its value."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = test()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what}\n{said()}")


def status(pid):
    """/proc/PID/status as a dict, or {} when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def memory(pid):
    """VmRSS in bytes; 0 when it is gone."""
    found = re.match(r"\s*(\d+) kB", status(pid).get("VmRSS", ""))
    return int(found[1]) * 1024 if found else 0


def descriptors(pid):
    """How many are open, or None where we may not look (a locked process shows them to root only)."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def processor_time(pid):
    """Seconds of CPU that all threads of a process have used, by the scheduler's count."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def switches(pid):
    """How often the threads of a process went to sleep by themselves."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/task/{task}/status").read_text(),
                               re.M)[1])
    return total


class Daemon:
    def __init__(self, world, *args, environment=()):
        self.world, self.args = world, args
        self.wrapper = ("env", *environment) if environment else ()
        self.lines, self._seen, self._entries = [], 0, []

    def __enter__(self):
        self.child = self.world.start(*self.args, wrapper=self.wrapper)
        self.pid = self.child.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            below = children(self.pid)
            self.child.kill()
            for pid in below:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.child.wait()
        self._reader.join(10)
        self.child.stdout.close()
        self.child.stderr.close()

    def _read(self):
        for line in self.child.stderr:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))

    # -- what it says --

    @property
    def entries(self):
        while self._seen < len(self.lines):
            line = self.lines[self._seen]
            self._seen += 1
            if re.match(r"(err|warning|notice|info|debug) ", line):
                self._entries.append(Entry(line))
        return self._entries

    def mark(self):
        return len(self.entries)

    def events(self, name, since=0, **fields):
        return [e for e in self.entries[since:] if e.event == name and all(e.fields.get(k) == v for k, v in fields.items())]

    def wait(self, what, test, timeout=PATIENCE):
        return until(what, test, timeout, said=lambda: "\n".join(self.lines[-60:]))

    def until(self, event, since=0, timeout=PATIENCE, **fields):
        """The first such entry since a mark."""
        return self.wait(event, lambda: self.events(event, since, **fields), timeout)[0]

    def synced(self, since=0, timeout=PATIENCE):
        """A poll has ended since, and nothing is due or under way."""
        self.until("poll-done", since, timeout)
        idle = ("NEW", "FETCHING", "DECRYPTING", "RETRY")
        self.turned()  # the entry comes a moment before the ledger's commit
        self.wait("everything staged", lambda: self.states() and not set(self.states().values()) & set(idle), timeout)
        self.turned()  # a snapshot's commit comes a moment before `latest`

    def turned(self, timeout=PATIENCE):
        """What it was at when this was called it has finished."""
        mark = self.mark()
        self.signal(signal.SIGUSR2)
        self.until("status", mark, timeout)

    def states(self):
        """{key: state} in the ledger; {} as long as there is none."""
        try:
            return {key: o["state"] for key, o in self.world.objects().items()}
        except sqlite3.OperationalError:
            return {}

    # -- what it does --

    def signal(self, number):
        self.child.send_signal(number)

    def poll(self, timeout=PATIENCE):
        """A full poll, now; returns when its listings have ended."""
        mark = self.mark()
        self.signal(signal.SIGUSR1)
        self.until("poll-done", mark, timeout)

    def reload(self, timeout=PATIENCE):
        self.world.ini()
        mark = self.mark()
        self.signal(signal.SIGHUP)
        return self.until("reloaded", mark, timeout)

    def stop(self, timeout=PATIENCE):
        """(exit status, seconds)."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        return self.ended(timeout), time.monotonic() - began

    def ended(self, timeout=PATIENCE):
        """Its exit status, once it has ended; all that it said is in entries then."""
        code = self.child.wait(timeout)
        self._reader.join(timeout)
        return code

    def helpers(self, name):
        """PIDs of its helpers of that name that run; not of what has ended and waits to be reaped."""
        found = []
        for pid in children(self.pid):
            s = status(pid)
            if s.get("Name") == name and not s["State"].startswith("Z") and int(s["PPid"]) == self.pid:
                found.append(pid)
        return found

    def zombies(self):
        """Processes below it that have ended and nobody has taken note."""
        return [f"{s['Name']} {pid} of {s['PPid']}" for pid in children(self.pid)
                if (s := status(pid)).get("State", "").startswith("Z")]


class Held:
    """Objects that S3 does not have yet. give(key) puts one there, complete when it appears."""

    def __init__(self, world, *keys):
        self.world, self.facts = world, {o["key"]: o for o in world.facts["objects"]}
        self.folder = world.folder / "held"
        self.folder.mkdir(exist_ok=True)
        for key in keys:
            os.rename(self._there(key), self.folder / key.replace("/", "%"))

    def _there(self, key):
        return self.world.package / "buckets" / self.facts[key]["bucket"] / key

    def give(self, key):
        os.rename(self.folder / key.replace("/", "%"), self._there(key))
        return self.world.staging / self.facts[key]["path"]
