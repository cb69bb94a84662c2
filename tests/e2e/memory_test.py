#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of every process with huge objects: a single file and a zip member (zip64 when over 4 GiB).

1 GiB each by default; CZARD_TEST_LARGE=1 makes it 4.5 GiB."""

import os
import unittest

from czardtest import main
from czardtest.run import World
from czardtest.s3d import S3d

GIB = 1 << 30
SIZE = int(4.5 * GIB) if os.environ.get("CZARD_TEST_LARGE") else GIB
LIMIT = 64 << 20


class MemoryTest(unittest.TestCase):
    def test_peaks(self):
        with World(with_tls=True, days=1, weeks=1, courses=1, rdx=1, zip64_member_size=SIZE, rdx_size=SIZE) as w, \
                S3d(w.package, w.facts, w.certificate) as s3:
            w.use(s3.endpoint)
            done = w.once(timeout=550)
            print(f"{SIZE / GIB:.1f} GiB: {done.seconds:.1f} s,",
                  ", ".join(f"{name} {peak >> 20} MiB" for name, peak in sorted(done.peaks.items())))
            self.assertEqual(done.code, 0, done)
            self.assertEqual(w.differences(), [])
            for name in ("czard", "czard-fetch", "czard-decrypt", "gpg"):
                self.assertIn(name, done.peaks)
            self.assertEqual({n: p for n, p in done.peaks.items() if p > LIMIT}, {})


if __name__ == "__main__":
    main()
