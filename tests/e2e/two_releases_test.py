#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 12 to 13: what a czard of the older release wrote (ledger, audit record, staging, key, passphrase) is read by
one of the newer. Needs root, and in $CZARD_OTHER_BUILD the build that tests/check makes in the other release."""

import os
import subprocess
import sys
import unittest

from czardtest import main
from czardtest.run import REPOSITORY, World, build_folder
from czardtest.s3d import S3d

RELEASE = REPOSITORY / "tests/release"
OTHER_BUILD = os.environ.get("CZARD_OTHER_BUILD")


class Place:
    """Programs of one release, on the files of one World."""

    def __init__(self, world, build, inside=()):
        self.world, self.build, self.inside = world, build, list(inside)

    def run(self, name, *args):
        w = self.world
        command = [*self.inside, "env", f"RUNTIME_DIRECTORY={w.run_folder}", f"{self.build}/daemon/{name}/{name}",
                   "--config", w.ini(), *args]
        return subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "CZARD_SHARE": str(w.folder)})


class TwoReleasesTest(unittest.TestCase):
    def test_the_newer_reads_what_the_older_wrote(self):
        other = subprocess.run([RELEASE, "other"], capture_output=True, text=True, check=True).stdout.strip()
        w = self.enterContext(World(with_tls=False, passphrase="a passphrase: ü%", days=6, weeks=2, courses=1, rdx=1))
        s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(s3.endpoint, tls_endpoint=False)
        here, there = Place(w, build_folder()), Place(w, OTHER_BUILD, [RELEASE, other])
        old, new = (there, here) if other == "bookworm" else (here, there)

        # the older one takes a part
        days = sorted(o["date"] for o in w.facts["objects"] if o["category"] == "events")
        w.package_section["since"] = days[len(days) // 2]
        first = old.run("czard", "--once")
        self.assertEqual(first.returncode, 0, first.stderr[-4000:])
        staged = {p for p in w.staging.rglob("*") if p.is_file() and p.name != "CHANGES.jsonl"}
        taken = {r.key for r in s3.requests() if r.op == "get"}
        self.assertTrue(taken)

        # the newer one the rest, and nothing of it again
        del w.package_section["since"]
        before = len(s3.requests())
        second = new.run("czard", "--once")
        self.assertEqual(second.returncode, 0, second.stderr[-4000:])
        again = {r.key for r in s3.requests()[before:] if r.op == "get"}
        self.assertTrue(again)
        self.assertEqual(again & taken, set())
        self.assertEqual(w.differences(), [])
        self.assertTrue(all(p.exists() for p in staged))
        for words in (["verify"], ["verify", "--audit"], ["check"]):
            done = new.run("czarctl", *words)
            self.assertEqual(done.returncode, 0, (words, done.stdout, done.stderr))

        before = len(s3.requests())
        self.assertEqual(new.run("czard", "--once").returncode, 0)
        self.assertEqual([r for r in s3.requests()[before:] if r.op == "get"], [])


if __name__ == "__main__":
    if os.geteuid() != 0 or not OTHER_BUILD:
        print("skipped: needs root and $CZARD_OTHER_BUILD")
        sys.exit(77)
    main()
