#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of every process with huge objects: a single file and a zip member (zip64 when over 4 GiB).

1 GiB each by default; CZARD_TEST_LARGE=1 makes it 4.5 GiB."""

import functools
import os
import subprocess
import unittest

from czardtest import main
from czardtest.run import World, is_sanitized
from czardtest.s3d import S3d
from czardtest.zips import TABLES, Archives, table_name

os.environ.setdefault("CZARD_TEST_FOLDERS", "/tmp")  # on a disk: it is large, and what the page cache keeps of it is looked at
GIB = 1 << 30
SIZE = int(4.5 * GIB) if os.environ.get("CZARD_TEST_LARGE") else GIB
LIMIT = 64 << 20
MIB = 1 << 20
WEEK = "2024-07-07"
CACHES = 2 * 2 * MIB  # of pages, 2 MiB each by SQLite's default: the ledger's and that of an archive's members
SLACK = 3 * MIB  # what is free in a heap differs from run to run
PROGRAMS = ("czard", "czard-fetch", "czard-decrypt", "czard-index")
MEMBERS = 200_000  # the default of max_members


def cached(path):
    """Bytes of it in the page cache; None where a file system is in memory as a whole, or cannot tell."""
    kind = subprocess.run(["stat", "--file-system", "--format=%T", path], capture_output=True, text=True, check=True).stdout.strip()
    if kind not in ("ext2/ext3", "xfs", "btrfs"):
        return None
    said = subprocess.run(["fincore", "--bytes", "--noheadings", "--output=RES", path], capture_output=True, text=True, check=True)
    return int(said.stdout)


@functools.cache
def peaks(courses, rdx_size):
    """Of one archive and one object: (peaks, how many members)."""
    with World(with_tls=False, days=0, weeks=1, rdx=1, tables="all", courses=courses, rdx_size=rdx_size) as w, \
            S3d(w.package, w.facts) as s3:
        w.use(s3.endpoint, tls_endpoint=False)
        done = w.once()
        if done.code != 0:
            raise AssertionError(done)
        members = max(len(o.get("members") or ()) for o in w.facts["objects"])
    print(f"{members} members:", ", ".join(f"{n} {done.peaks.get(n, 0) >> 10} KiB" for n in PROGRAMS))
    # One that ends at once may not have been seen.
    return {n: done.peaks.get(n, 0) for n in PROGRAMS}, members


class MemoryTest(unittest.TestCase):
    def test_peaks(self):
        """With each engine: in process, and where gpg does the bulk."""
        with World(with_tls=True, days=1, weeks=1, courses=1, rdx=1, zip64_member_size=SIZE, rdx_size=SIZE) as w, \
                S3d(w.package, w.facts, w.certificate) as s3:
            w.use(s3.endpoint)
            for engine, programs in (("auto", PROGRAMS), ("gnupg", (*PROGRAMS, "gpg"))):
                w.fresh()
                w.config["openpgp"]["engine"] = engine
                done = w.once(timeout=550)
                print(f"{engine}, {SIZE / GIB:.1f} GiB: {done.seconds:.1f} s,",
                      ", ".join(f"{name} {peak >> 20} MiB" for name, peak in sorted(done.peaks.items())))
                self.assertEqual(done.code, 0, done)
                # before anybody reads it: what is staged does not push out what others have in the page cache
                large, = (w.staging / o["path"] for o in w.facts["objects"] if o["category"] == "rdx")
                self.assertLess(cached(large) or 0, SIZE / 4)
                self.assertEqual(w.differences(), [])
                for name in set(programs) - {"czard-index"}:  # which ends too soon to be surely seen
                    self.assertIn(name, done.peaks)
                self.assertEqual({n: p for n, p in done.peaks.items() if p > LIMIT}, {})

    @unittest.skipIf(is_sanitized(), "the sanitizers keep what was freed")
    def test_ten_times_the_size_is_the_same_peak(self):
        (small, _), (large, _) = peaks(courses=4, rdx_size=4 * MIB), peaks(courses=4, rdx_size=40 * MIB)
        for name in PROGRAMS:
            self.assertLess(large[name] - (small[name] or large[name]), SLACK, name)

    @unittest.skipIf(is_sanitized(), "the sanitizers keep what was freed")
    def test_three_times_the_members_is_the_same_peak(self):
        """They are rows on the disk; but the fewer ones may not fill all of SQLite's caches."""
        (few, n), (many, m) = peaks(courses=80, rdx_size=4 * MIB), peaks(courses=240, rdx_size=4 * MIB)
        self.assertGreater(m - n, 7000)
        for name in PROGRAMS:
            self.assertLess(many[name] - (few[name] or many[name]), SLACK + CACHES, name)

    @unittest.skipIf(is_sanitized(), "the sanitizers keep what was freed")
    def test_as_many_members_as_there_may_be(self):
        """One of them wanted: all are read, noted, listed and recorded."""
        a = self.enterContext(Archives())
        a.fresh()
        name = table_name("UniversityX-A.1x-2024_T1", TABLES[0])
        entries = [(f"{a.org}-{WEEK}/UniversityX-N{n:06}x-2024_T1-{TABLES[0]}-prod-analytics.sql.gpg", b"no message")
                   for n in range(MEMBERS - 1)]
        a.put(WEEK, a.pack(a.entries(WEEK, {name: b"id\n1\n"}) + entries))
        a.world.package_section["courses"] = "UniversityX-A.*"
        done = a.world.once(timeout=400)
        print(f"{MEMBERS} members: {done.seconds:.1f} s,", ", ".join(f"{n} {done.peaks[n] >> 20} MiB" for n in PROGRAMS))
        self.assertEqual(done.code, 0, done)
        self.assertEqual(a.staged(WEEK), {name: b"id\n1\n"})
        self.assertEqual(len(a.world.members(a.key(WEEK))), MEMBERS)
        self.assertEqual({n: p >> 10 for n, p in done.peaks.items() if p > LIMIT}, {})


if __name__ == "__main__":
    main()
