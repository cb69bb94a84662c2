#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many GETs run at once: never more than max_transfers, as many where round trips are long, and never a standstill
between files that have a connection and archives that have a worker."""

import gzip
import os
import random
import unittest

from czardtest import main, package
from czardtest.zips import Archives, course

WEEK = "2024-07-07"
MIB = 1 << 20


def most_at_once(requests):
    """The greatest number of GETs that the server answered at one time."""
    changes = sorted([(float(r.more["began"]), 1) for r in requests] + [(float(r.more["ended"]), -1) for r in requests])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


class Slots(unittest.TestCase):
    def setUp(self):
        self.a = a = self.enterContext(Archives())
        a.fresh()
        a.world.package_section.update(categories="events database", sites="edx")
        self.events = a.world.package / "buckets" / package.EVENTS_BUCKET / a.org / "edx" / "events" / "2024"
        self.events.mkdir(parents=True)
        self.rng = random.Random(13)

    def put_events(self, n, size):
        """n daily files whose messages have about `size` bytes. Returns {staged path: plaintext}."""
        a, expected = self.a, {}
        for i in range(n):
            name = f"{a.org}-edx-events-2024-{1 + i // 28:02d}-{1 + i % 28:02d}.log.gz"
            expected[f"{a.org}/events/edx/2024/{name}"] = gzip.compress(self.rng.randbytes(size), 0)
        for (path, data), message in zip(expected.items(), a.encrypt(expected, "--compress-algo", "none").values()):
            (self.events / f"{os.path.basename(path)}.gpg").write_bytes(message)
        return expected

    def check_events(self, expected):
        for path, data in expected.items():
            self.assertEqual((self.a.world.staging / path).read_bytes(), data, path)


class StandstillTest(Slots):
    """Files larger than a pipe beside an archive whose members are."""

    def standstill(self, workers, max_transfers):
        a = self.a
        expected = self.put_events(16, 6 * MIB)
        members = course(self.rng, "UniversityX-S1x-2024_T1", [f"t{n:02d}" for n in range(16)], 3 * MIB // 2)
        a.put(WEEK, a.pack(a.entries(WEEK, members, "--compress-algo", "none")))
        a.world.config["daemon"]["workers"] = workers
        a.world.config["s3"]["max_transfers"] = max_transfers
        done = a.world.once(timeout=120)
        self.assertEqual(done.code, 0, done)
        self.check_events(expected)
        self.assertEqual(a.staged(WEEK), members)
        self.assertEqual(done.events("retry"), [])

    def test_2_workers_4_transfers(self):
        self.standstill(2, 4)

    def test_4_workers_8_transfers(self):
        self.standstill(4, 8)


if __name__ == "__main__":
    main()
