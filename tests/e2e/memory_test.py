#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of every process with huge objects: a single file and a zip member (zip64 when over 4 GiB).

1 GiB each by default; CZARD_TEST_LARGE=1 makes it 4.5 GiB."""

import os
import unittest

from czardtest import main
from czardtest.run import World, is_sanitized
from czardtest.s3d import S3d

GIB = 1 << 30
SIZE = int(4.5 * GIB) if os.environ.get("CZARD_TEST_LARGE") else GIB
LIMIT = 64 << 20
MIB = 1 << 20
SLACK = 3 * MIB  # what is free in a heap differs from run to run
PROGRAMS = ("czard", "czard-fetch", "czard-decrypt")


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
                self.assertEqual(w.differences(), [])
                for name in programs:
                    self.assertIn(name, done.peaks)
                self.assertEqual({n: p for n, p in done.peaks.items() if p > LIMIT}, {})

    @unittest.skipIf(is_sanitized(), "the sanitizers keep what was freed")
    def test_twice_the_members_and_ten_times_the_size_are_the_same_peak(self):
        peaks = []
        for options in ({"courses": 4, "rdx_size": 4 * MIB}, {"courses": 8, "rdx_size": 40 * MIB}):
            with World(with_tls=False, days=0, weeks=1, rdx=1, tables="all", **options) as w, S3d(w.package, w.facts) as s3:
                w.use(s3.endpoint, tls_endpoint=False)
                done = w.once()
                self.assertEqual(done.code, 0, done)
                peaks.append(done.peaks)
        print(", ".join(f"{n} {peaks[0][n] >> 10} and {peaks[1][n] >> 10} KiB" for n in PROGRAMS))
        for name in PROGRAMS:
            self.assertLess(peaks[1][name] - peaks[0][name], SLACK, name)


if __name__ == "__main__":
    main()
