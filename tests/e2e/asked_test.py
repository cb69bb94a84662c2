#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a czard-decrypt that has been taken over says of members (liar.py), and what is asked of S3 after that: the same,
whichever members it chose."""

import json
import random
import re
import sys
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fault"))
from czardtest import main  # noqa: E402
from czardtest.run import REPOSITORY, program  # noqa: E402
from czardtest.zips import TABLES, Archives, course  # noqa: E402

WEEK = "2024-07-07"
LIAR = REPOSITORY / "tests/fault/liar.py"
CAUSES = re.findall(r"^ +X\((\w+), ", (REPOSITORY / "lib/base/error.h").read_text(), re.M)
WINDOW = 4096  # of an archive of this size (WINDOW_LEAST in daemon/czard/work/snapshot.c)
COURSES = 32  # of 12 members: four runs at first


class AskedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.a = cls.enterClassContext(Archives())
        cls.w = w = cls.a.world
        rng = random.Random(1)
        cls.members = {}
        for n in range(COURSES):
            cls.members.update(course(rng, f"UniversityX-M{n:03d}x-2024_T1", TABLES[:12]))
        cls.entries = cls.a.entries(WEEK, cls.members)
        cls.real, w.build = w.build, w.folder / "build"
        for name in ("czard", "czard-fetch", "czard-decrypt", "czard-index"):
            folder = w.build / "daemon" / name
            folder.mkdir(parents=True)
            if name == "czard":
                (folder / name).write_bytes(program(name, cls.real).read_bytes())  # it looks for the others beside itself
                (folder / name).chmod(0o755)
            else:
                (folder / name).symlink_to(LIAR if name == "czard-decrypt" else program(name, cls.real))
        cls.liar = w.build / "daemon/czard-decrypt"

    def setUp(self):
        self.fresh()

    def fresh(self):
        self.a.fresh()
        self.w.config["daemon"]["workers"] = 1
        self.a.put(WEEK, self.a.pack(self.entries))

    def say(self, *words):
        """(number of a member in the archive or None for all, cause[, "once"])"""
        (self.liar / "truth").unlink(missing_ok=True)
        (self.liar / "said").write_bytes(b"")
        (self.liar / "lie").write_text(json.dumps({
            "real": str(program("czard-decrypt", self.real)), "type": 0, "do": "", "nth": 0,
            "words": [[".*" if n is None else "^" + re.escape(self.entries[n][0]) + "$", CAUSES.index(cause), *once]
                      for n, cause, *once in words]}))

    def tell_the_truth(self):
        (self.liar / "truth").touch()

    def once(self, code):
        self.a.s3.forget_requests()
        done = self.w.once(timeout=200)
        self.assertEqual(done.code, code, done)
        self.assertEqual(done.events("helper-killed"), [], done)
        return done

    def attempts(self):
        """[Counter of ranges] of the last run: each begins with a look at the archive's end."""
        out, size = [], len(self.a.pack(self.entries))
        for r in self.a.gets(WEEK):
            if r.range == f"bytes={size - WINDOW}-{size - 1}":
                out.append(Counter())
            out[-1][r.range] += 1
        return out

    def assert_staged(self):
        self.assertEqual(self.a.staged(WEEK), self.members)

    def test_after_a_run_that_failed(self):
        """Some are bad in one run, and another run fails: what is asked for then does not tell which."""
        asked = []
        for refused in ((1, 5, 9), (2, 3, 50, 70)):
            self.fresh()
            self.say(*((n, "BAD_MDC") for n in refused), (len(self.entries) - 1, "HELPER", "once"))
            self.once(1)  # members were refused, for a while
            self.assert_staged()
            asked.append(self.attempts())
        self.assertEqual(len(asked[0]), 2)
        self.assertEqual(asked[0], asked[1])

    def test_some_are_bad_and_the_rest_has_no_key(self):
        asked = []
        for refused in ((1, 5, 9), (2, 3, 50, 70)):
            self.fresh()
            self.say(*((n, "BAD_MDC") for n in refused), (None, "NO_KEY"))
            self.once(1)
            self.tell_the_truth()
            before = self.attempts()
            self.once(0)
            self.assert_staged()
            asked.append((before, self.attempts()))
        self.assertEqual(asked[0], asked[1])

    def test_some_wait_for_the_key_and_a_later_run_fails(self):
        """Members that our key does not open wait until another was opened, and are of no run any more; theirs has then
        nothing staged. Whichever they are, and whatever is said of the others of that run, the same is asked for."""
        asked = []
        for waiting in ((1, 5, 9), (2, 3, 50, 70)):
            for others in (None, "BAD_MDC"):
                self.fresh()
                rest = [(n, others) for n in self.run_of(0) if n not in waiting] if others else []
                self.say(*((n, "NO_KEY") for n in waiting), *rest, (len(self.entries) - 1, "HELPER", "once"))
                self.once(1)
                self.assert_staged()
                asked.append(self.attempts())
        self.assertEqual(len(asked[0]), 2)
        for other in asked[1:]:
            self.assertEqual(other, asked[0])

    def run_of(self, number):
        """The members of the first run of so many: the archive is asked for in four at first."""
        each = len(self.entries) // 4
        return range(number * each, (number + 1) * each)


if __name__ == "__main__":
    main()
