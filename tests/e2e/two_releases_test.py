#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 12 to 13: what a czard of the older release wrote (ledger, audit record, staging, key, passphrase) is read by
one of the newer; and one package becomes the same files, byte for byte, and the same verdicts in both. Needs root, and in
$CZARD_OTHER_BUILD the build that tests/check makes in the other release."""

import hashlib
import json
import os
import subprocess
import sys
import unittest

from czardtest import main
from czardtest.run import REPOSITORY, World, build_folder, tree
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


def staged(w):
    """{path: kind, mode and content} of the staged tree; of the feeds the lines without their times."""
    found = {}
    for path, s in tree(w.staging).items():
        file = w.staging / path
        what = os.readlink(file) if file.is_symlink() else hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        found[path] = oct(s.st_mode), what
    del found[".czard-id"]
    for file in w.staging.rglob("CHANGES.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        # seq goes by what was ready first
        found[str(file.relative_to(w.staging))] = sorted(
            json.dumps({k: v for k, v in line.items() if k not in ("time", "seq")}, sort_keys=True) for line in lines)
    return found


def verdicts(w):
    """What the ledger knows of objects and members, but for what is of one run: numbers and times."""
    objects = {key: (o["state"], o["cause"], o["detail"], o["sha256"], o["checks"], o["path"]) for key, o in w.objects().items()}
    return objects, {key: {name: (m["state"], m["cause"], m["detail"], m["sha256"], m["checks"]) for name, m in w.members(key).items()}
                     for key in objects if key.endswith(".zip")}


class TwoReleasesTest(unittest.TestCase):
    def begin(self, **options):
        """The package, and its stand-in for S3; the older release and the newer one on it."""
        other = subprocess.run([RELEASE, "other"], capture_output=True, text=True, check=True).stdout.strip()
        self.w = w = self.enterContext(World(with_tls=False, **options))
        self.s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(self.s3.endpoint, tls_endpoint=False)
        here, there = Place(w, build_folder()), Place(w, OTHER_BUILD, [RELEASE, other])
        return (there, here) if other == "bookworm" else (here, there)

    def test_the_same_byte_for_byte(self):
        results = []
        old, new = self.begin(days=6, weeks=2, courses=2, rdx=1)
        w = self.w
        # what is refused is refused for the same reason
        days = sorted((o for o in w.facts["objects"] if o["category"] == "events"), key=lambda o: o["key"])
        for o, change in zip(days, (lambda data: data[:-30], lambda data: data + b"more", lambda data: b"no message")):
            file = w.package / "buckets" / o["bucket"] / o["key"]
            file.write_bytes(change(file.read_bytes()))
        for place in (old, new):
            w.fresh()
            w.package_section["events_by_course"] = "edx"
            done = place.run("czard", "--once")
            self.assertEqual(done.returncode, 1, done.stderr[-4000:])
            results.append((staged(w), *verdicts(w)))
        (tree_old, *told_old), (tree_new, *told_new) = results
        self.assertGreater(len([p for p in tree_old if "/events-by-course/" in p and p.endswith(".gz")]), 3)
        self.assertEqual({o[0] for o in told_old[0].values()} & {"PUBLISHED", "REJECTED"}, {"PUBLISHED", "REJECTED"})
        self.assertEqual(tree_old, tree_new)
        self.assertEqual(told_old, told_new)

    def test_the_newer_reads_what_the_older_wrote(self):
        old, new = self.begin(passphrase="a passphrase: ü%", days=6, weeks=2, courses=1, rdx=1)
        w, s3 = self.w, self.s3

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
