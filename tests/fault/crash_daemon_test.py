#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The running daemon, when its disks fail or vanish and its helpers die: it says so, pauses, writes nothing where nothing
should be, and goes on by itself. And the audit record through it all, as czarctl sees it.

    CZARD_BUILD=build/release tests/fault/crash_daemon_test.py [-v] [-k TEXT] [-j N]
"""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from table import Skip, main

from crash_test import CrashBase, CrashPlace, whole
from czardtest import disk_fault
from czardtest.common import PATIENCE  # noqa: E402
from czardtest.run import Entry, children, is_sanitized, program, tree

MINUTE = 75  # a pause is looked at each minute


class DaemonPlace(CrashPlace):
    def begin(self, scenario):
        super().begin(scenario)
        self.config["daemon"]["poll_interval"] = "1h"

    @contextmanager
    def daemon(self, **fault):
        """czard as a daemon; p.said() is what it has said so far."""
        self.said_file = self.folder / "said"
        self.fault = disk_fault.environment(self.folder / "calls", OFF=self.folder / "off", **fault) if fault else {}
        command = [str(a) for a in (program("czard", self.build), "--config", self.ini())]
        with open(self.said_file, "wb") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                                          env=self.environment(), start_new_session=True)
        self.fault = {}
        try:
            yield
            self.child.send_signal(signal.SIGTERM)
            self.check("exit status of the daemon", self.child.wait(PATIENCE), 0)
        finally:
            if self.child.poll() is None:
                for pid in [*children(self.child.pid), self.child.pid]:
                    os.kill(pid, signal.SIGKILL)
                self.child.wait()
            self.runs.append(self.said_file.read_text(errors="replace")[-8000:])

    def said(self, event, text=""):
        lines = self.said_file.read_text(errors="replace").splitlines()
        return [e for e in map(Entry, lines) if e.event == event and text in e.message]

    def wait(self, event, text="", count=1, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.child.poll() is None:
            if len(self.said(event, text)) >= count:
                return True
            time.sleep(0.05)
        self.problems.append(f"waited {seconds} s for {count} {event} '{text}'")
        return False

    def poll(self):
        """A full listing, to its end."""
        before = len(self.said("poll-done"))
        self.child.send_signal(signal.SIGUSR1)
        self.wait("poll-done", count=before + 1)

    def settled(self, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            states = {o["state"] for o in self.objects().values()}
            if "PUBLISHED" in states and not states & {"NEW", "FETCHING", "DECRYPTING", "RETRY"}:
                return
            time.sleep(0.1)
        self.problems.append(f"after {seconds} s: {self.objects()}")

    def ctl(self, *args):
        command = [str(a) for a in (program("czarctl", self.build), "--config", self.ini(), *args)]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment(), check=False, timeout=60)

    def heads(self):
        return re.findall(r"CZARD_AUDIT_HEAD=([0-9a-f]{64})", "\n".join(self.runs))


class DaemonBase(CrashBase):
    place = DaemonPlace


# -- volumes --------------------------------------------------------------------------------------------------------
@contextmanager
def volume(p):
    """The staging folder is a mount point of a volume; volume.mount() and volume.unmount()."""
    v = Volume(p)
    if subprocess.run(["mount", "--bind", v.disk, p.staging], capture_output=True, check=False).returncode:
        raise Skip("nothing can be mounted here")
    try:
        yield v
    finally:
        while subprocess.run(["umount", "-l", p.staging], capture_output=True, check=False).returncode == 0:
            pass


class Volume:
    def __init__(self, p):
        self.p, self.disk = p, p.folder / "disk"
        if p.staging.exists() and any(p.staging.iterdir()):
            shutil.move(p.staging, self.disk)
        else:
            self.disk.mkdir()
            self.disk.chmod(0o750)
        p.staging.mkdir(exist_ok=True)
        p.staging.chmod(0o750)

    def mount(self):
        subprocess.run(["mount", "--bind", self.disk, self.p.staging], check=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.p.staging], check=True)
        self.p.check("below the mount point", list(tree(self.p.staging)), [])


def absent_at_start(p):
    p.begin("again")
    with volume(p) as v:
        v.unmount()
        p.once()
        p.check("exit status", p.last.code, 3)
        p.check("told", p.told(), {"failed staging"})
        p.check("below the mount point", list(tree(p.staging)), [])
        p.check("requests", len(p.requests()), 0)
        v.mount()
        p.once()
        p.check("exit status when it is mounted", p.last.code, 0)
        whole(p, "when it is mounted")


def absent_between_polls(p):
    p.begin("done")
    with volume(p) as v, p.daemon():
        p.wait("poll-done")
        v.unmount()
        p.take("again", "buckets", "expected")
        p.s3.forget_requests()
        p.poll()
        p.wait("paused", "staging")
        p.check("below the mount point", list(tree(p.staging)), [])
        p.check("GETs without it", len(p.requests("get")), 0)
        p.check("missing", len(p.said("missing")), 0)
        v.mount()
        p.wait("resumed", "staging", seconds=MINUTE)
        p.settled()
        whole(p, "when it is mounted again")


def other_one_between_polls(p):
    p.begin("done")
    with volume(p) as v, p.daemon():
        p.wait("poll-done")
        other = p.folder / "other"
        other.mkdir(mode=0o750)
        subprocess.run(["mount", "--bind", other, p.staging], check=True)
        p.poll()
        p.wait("paused", "staging")
        p.check("on the other disk", list(tree(other)), [])
        p.check("missing", len(p.said("missing")), 0)
        subprocess.run(["umount", "-l", p.staging], check=True)
        p.poll()
        p.wait("resumed", "staging")
        v.p.check("states", {o["state"] for o in p.objects().values() if o["path"]}, {"PUBLISHED"})


def absent_in_mid_run(p):
    p.begin("first")
    p.config["s3"]["max_transfers"] = 1
    p.s3.behave("slow", key="*events*", delay=400)
    with volume(p) as v, p.daemon():
        p.wait("published")
        v.unmount()
        p.wait("paused", "staging")
        time.sleep(1)
        p.check("below the mount point", list(tree(p.staging)), [])
        p.check("all was fetched all the same", any(o["state"] == "NEW" for o in p.objects().values()), True)
        v.mount()
        p.behave_well()
        p.wait("resumed", "staging", seconds=MINUTE)
        p.settled()
        whole(p, "when it is mounted again")


@contextmanager
def disk(p, options):
    """A file system of its own for staging."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", p.staging], capture_output=True, check=False).returncode:
        raise Skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", p.staging], check=False)


def small_disk(p):
    """It is full, and then is not."""
    p.begin("first")
    with disk(p, "size=4M,mode=750"):
        p.config["staging"]["min_free"] = "1"
        (p.folder / "x").write_bytes(b"")
        filler = p.staging / "lost+found"
        filler.write_bytes(b"x" * (4 * 1024 * 1024 - 8192))
        with p.daemon():
            p.wait("paused", "space")
            p.check("exhausted", p.child.poll(), None)
            filler.unlink()
            p.wait("resumed", "space", seconds=MINUTE)
            p.settled(MINUTE)
        whole(p, "when there is room again")


def read_only(p):
    """What a kernel does with a file system that it does not trust any more: all is there, and nothing can be made."""
    p.begin("first")
    with disk(p, "mode=750"):
        with p.daemon():
            p.wait("poll-done")
            p.settled()
            subprocess.run(["mount", "-o", "remount,ro", p.staging], check=True)
            p.take("again", "buckets", "expected")
            p.s3.forget_requests()
            p.poll()
            p.wait("paused", "staging")
            time.sleep(3)
            gets = Counter(r.key for r in p.requests("get") if not r.key.endswith(".zip"))
            p.check("objects fetched more than twice", {k: n for k, n in gets.items() if n > 2}, {})
            p.check("entries of the pause", len(p.said("paused")) <= 2, True)
            subprocess.run(["mount", "-o", "remount,rw", p.staging], check=True)
            p.poll()
            p.wait("resumed", "staging")
            p.settled()
        whole(p, "when it can be written again")


# -- calls that fail until somebody mends it ------------------------------------------------------------------------
def state_fails(error, first):
    def run(p):
        p.begin("first")
        # The listing that is undone may be the one of the newer spelling of the opt-in key: then the other is staged first.
        p.config["staging"]["keep_replaced"] = "0"
        p.s3.behave("slow", op="list", delay=500)
        (p.folder / "off").touch()
        with p.daemon(ROOTS=p.state, NTH=first, LAST=0, ERRNO=getattr(errno, error)):
            # Calls count from the first poll on, so a start-up that makes more of them moves no row.
            p.wait("ready")
            (p.folder / "off").unlink()
            if p.wait("paused", "state"):
                time.sleep(0.5)
                p.check("paused once", len(p.said("paused", "state")), 1)
                # SQLite tells a full disk from other errors, and a full quota not: by whose call it is met decides.
                told = len(p.said("paused", "make room in state_dir"))
                p.check("told where to make room", told, min(told, 1) if error == "EDQUOT" else int(error == "ENOSPC"))
                (p.folder / "off").touch()
                p.wait("resumed", "state", seconds=MINUTE)
                p.settled(MINUTE)
        whole(p, "when it works again")
    return run


def staging_fails(error):
    def run(p):
        p.begin("again")
        with p.daemon(ROOTS=p.staging, NTH=8, LAST=0, ERRNO=getattr(errno, error)):
            p.wait("retry")
            time.sleep(0.5)
            p.check("replaced", len(p.said("replaced")), 0)
            (p.folder / "off").touch()
            p.poll()
            p.settled(MINUTE)
        p.once()
        p.check("exit status of the run after", p.last.code, 0)
        whole(p, "when it works again")
    return run


# -- helpers --------------------------------------------------------------------------------------------------------
def helper_killed(name):
    def run(p):
        p.begin("first")
        p.s3.behave("slow", key="*events*", delay=700)
        with p.daemon():
            p.wait("poll-done")
            killed = 0
            for _ in range(3):
                for pid in children(p.child.pid):
                    try:
                        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                            os.kill(pid, signal.SIGKILL)
                            killed += 1
                    except OSError:
                        pass
                time.sleep(0.5)
            p.check("killed", killed > 0, True)
            p.wait("helper-died", name)
            p.behave_well()
            p.settled(MINUTE)
            p.check("rejected", len(p.said("rejected")), 0)
        p.once()
        p.check("exit status of the run after", p.last.code, 0)
        p.check("GETs of the run after", len(p.requests("get")), 0)
        whole(p, "after")
    return run


# -- the audit record -----------------------------------------------------------------------------------------------
def record_through_it_all(p):
    """Crashes, full disks, restarts: the chain holds; each head that was told is in it."""
    p.begin("first")
    for n, error in enumerate((0, errno.ENOSPC, 0, errno.EIO, 0)):
        p.faulty(nth=40 + 25 * n, last=0 if error else None, error=error)
    p.once()
    with p.daemon():
        p.wait("poll-done")
    p.check("exit status", p.last.code, 0)
    whole(p, "after")
    heads = p.heads()
    p.check("heads", len(heads) > 3, True)
    for head in heads:
        p.check(f"verify --audit --head {head}", p.ctl("verify", "--audit", "--head", head).returncode, 0)
    done = p.ctl("verify", "--audit", "--json")
    p.check("verify --audit", done.returncode, 0)
    p.check("entries", json.loads(done.stdout)["audit_entries"], len(p.audit()[0]))


def tampered(change, head=False):
    def run(p):
        p.begin("done")
        p.once()
        path = p.state / "audit.jsonl"
        p.check("verify before", p.ctl("verify", "--audit", "--head", p.heads()[-1]).returncode, 0)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(lines)))
        done = p.ctl("verify", "--audit", *(["--head", p.heads()[-1]] if head else []))
        p.check("verify after", done.returncode, 1)
        p.check("it says where", "audit.jsonl" in done.stdout + done.stderr, True)
        if head:
            p.check("without the head", p.ctl("verify", "--audit").returncode, 1)
    return run


def alter(lines, n):
    return [*lines[:n], lines[n].replace(b'"event":"', b'"event":"x', 1), *lines[n + 1:]]


@dataclass
class Row:
    name: str
    run_it: callable
    preload: bool = False

    def run(self, p):
        if self.preload and is_sanitized():
            raise Skip("a preload cannot stand before the sanitizers' own")
        self.run_it(p)


TABLE = [
    Row("volume not mounted at start", absent_at_start),
    Row("volume unmounted between polls", absent_between_polls),
    Row("another volume mounted over it", other_one_between_polls),
    Row("volume unmounted in mid-run", absent_in_mid_run),
    Row("staging volume full", small_disk),
    Row("staging volume turns read-only", read_only),
    *[Row(f"state folder: {error}, {first} calls after the start", state_fails(error, first), preload=True)
      for error, first in [("ENOSPC", 1), ("EDQUOT", 4), ("EIO", 12), ("EROFS", 20), ("ENOMEM", 8)]],
    *[Row(f"staging: {error}", staging_fails(error), preload=True) for error in ("EIO", "ENOMEM", "EMFILE")],
    Row("czard-fetch killed", helper_killed("czard-fetch")),
    Row("czard-decrypt killed", helper_killed("czard-decrypt")),
    Row("audit record: crashes, full disks, restarts", record_through_it_all, preload=True),
    Row("audit record: a line altered", tampered(lambda lines: alter(lines, 3))),
    Row("audit record: the first line altered", tampered(lambda lines: alter(lines, 0))),
    Row("audit record: a line removed", tampered(lambda lines: lines[:4] + lines[5:])),
    Row("audit record: the first line removed", tampered(lambda lines: lines[1:])),
    Row("audit record: two lines exchanged", tampered(lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])),
    Row("audit record: a line doubled", tampered(lambda lines: [*lines[:3], lines[2], *lines[3:]])),
    Row("audit record: the tail cut", tampered(lambda lines: lines[:-2], head=True)),
    Row("audit record: the last line cut", tampered(lambda lines: lines[:-1], head=True)),
    Row("audit record: the last line altered", tampered(lambda lines: alter(lines, len(lines) - 1), head=True)),
    Row("audit record: all of it written anew", tampered(lambda lines: [], head=True)),
]

if __name__ == "__main__":
    main(TABLE, DaemonBase, jobs=12)  # most of them wait for the minute in which a pause is looked at
