#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tells how far czard is counts the bytes that arrive, not the objects that ended: STATUS=, czarctl status, and the
line below czard --once on a terminal, which shows people's lines."""

import gzip
import os
import pty
import random
import re
import select
import shutil
import socket
import subprocess
import time
import unittest

from czardtest import main, package
from czardtest.daemon import PATIENCE, Daemon
from czardtest.run import program
from czardtest.zips import Archives

SIZE = 300_000
A_SECOND = 50_000
SLOW = A_SECOND // 4  # for what looks by starting a program again and again
COUNT = re.compile(r"0 of 1 objects, ([\d.]+) KiB of ([\d.]+) KiB, 1 under way, ([\d.]+) KiB/s, \S+ left")

TAKEN_OVER = """#!/usr/bin/python3
import os, sys
has = any(os.isatty(fd) for fd in (0, 1, 2))
os.write(2, b"{name} \\x1b[2J has " + (b"a" if has else b"no") + b" terminal\\n")
os.execv("{real}", sys.argv)
"""


class ProgressTest(unittest.TestCase):
    """One file that takes some seconds."""

    def setUp(self):
        self.a = a = self.enterContext(Archives())
        a.fresh()
        a.world.package_section.update(categories="events", sites="edx")
        name = f"{a.org}-edx-events-2024-01-01.log.gz"
        folder = a.world.package / "buckets" / package.EVENTS_BUCKET / a.org / "edx" / "events" / "2024"
        folder.mkdir(parents=True)
        message, = a.encrypt({name: gzip.compress(random.Random(1).randbytes(SIZE), 0)}, "--compress-algo", "none").values()
        (folder / f"{name}.gpg").write_bytes(message)
        a.s3.behave("slow", op="get", drip=A_SECOND)

    def check_counts(self, texts, a_second=A_SECOND):
        counts = [tuple(map(float, found.groups())) for found in map(COUNT.search, texts) if found]
        self.assertGreaterEqual(len(counts), 2, texts)
        came = [c[0] for c in counts]
        self.assertEqual(came, sorted(came))
        self.assertLess(came[0], came[-1])
        self.assertLess(came[-1], SIZE / 1024 + 2)
        for _, _, rate in counts[1:]:
            self.assertTrue(a_second / 3 < rate * 1024 < a_second * 3, counts)

    def test_status(self):
        self.a.s3.behave("slow", op="get", drip=SLOW)
        path = self.a.world.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(path))
            s.setblocking(False)
            heard = []
            with Daemon(self.a.world, environment=(f"NOTIFY_SOCKET={path}",)) as d:
                end, left = time.monotonic() + PATIENCE, set()
                while not d.events("published") and time.monotonic() < end:
                    try:
                        heard += [line[7:] for line in s.recv(4096).decode().splitlines() if line.startswith("STATUS=")]
                    except BlockingIOError:
                        time.sleep(0.05)
                    if "DECRYPTING" in d.states().values() or "FETCHING" in d.states().values():
                        left.add(self.due_bytes())
                self.assertTrue(d.events("published"))
        self.check_counts(heard, SLOW)
        self.assertGreater(len([n for n in left if n and n < SIZE]), 1, left)

    def due_bytes(self):
        done = subprocess.run([str(program("czarctl")), "--config", str(self.a.world.folder / "czard.ini"), "--json", "status"],
                              capture_output=True, text=True, env=self.a.world.environment(), check=False)
        found = re.search(r'"due_bytes":(\d+)', done.stdout)
        return int(found[1]) if found else None

    def at_a_terminal(self, *args, path=None):
        """(exit status, all that it wrote)"""
        world, out = self.a.world, b""
        path = path or program("czard")
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(path, [path.name, "--config", str(world.ini()), *args], world.environment())
        while True:
            select.select([fd], [], [], 60)
            try:
                data = os.read(fd, 65536)
            except OSError:  # the other end is closed
                break
            out += data
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out.decode()

    def test_terminal(self):
        self.a.world.config["daemon"]["log_level"] = "info"
        code, out = self.at_a_terminal("--once")
        self.assertEqual(code, 0, out)
        self.assertNotRegex(out, r"[A-Z]+_[A-Z]+=")
        pieces = re.split(r"\r\n|\r\x1b\[K", out)
        self.check_counts(pieces)
        self.assertTrue([p for p in pieces if p.startswith("published ")], pieces)
        self.assertFalse(pieces[-1].strip(), "the progress is gone at the end")

    def test_fields_at_a_terminal(self):
        code, out = self.at_a_terminal("--once", "--fields")
        self.assertEqual(code, 0, out)
        self.assertIn("CZARD_EVENT=published", out)
        self.assertNotIn("\x1b", out)

    def test_helpers_do_not_have_the_terminal(self):
        """What they write to standard error is shown, not obeyed, and they cannot read what is typed."""
        tree = self.a.world.folder / "tree"
        for name in "czard", "czarctl", "czard-fetch", "czard-decrypt", "czard-index", "czard-filter":
            (tree / name).mkdir(parents=True)
            if name in ("czard", "czarctl"):
                shutil.copy2(program(name), tree / name / name)
            else:
                (tree / name / name).write_text(TAKEN_OVER.format(name=name, real=program(name)))
                (tree / name / name).chmod(0o755)
        for args, who in ((("--once",), "czard"), (("--once", "--fields"), "czard"), (("check",), "czarctl")):
            with self.subTest(args):
                _, out = self.at_a_terminal(*args, path=tree / who / who)
                for name in "czard-fetch", "czard-decrypt":
                    self.assertIn(f"{name} \\x1b[2J has no terminal", out)
                self.assertNotIn("\x1b[2J", out)
                if args == ("--once",):
                    self.assertIn("published ", out)


if __name__ == "__main__":
    main()
