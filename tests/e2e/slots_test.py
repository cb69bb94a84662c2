#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many GETs run at once: never more than max_transfers, as many where round trips are long, and never a standstill
between files that have a connection and archives that have a worker."""

import datetime
import gzip
import os
import random
import signal
import statistics
import time
import unittest

from czardtest import main, package
from czardtest.daemon import Daemon
from czardtest.zips import Archives, course

WEEK = "2024-07-07"
MIB = 1 << 20


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
            name = f"{a.org}-edx-events-{datetime.date(2024, 1, 1) + datetime.timedelta(i)}.log.gz"
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
        done = a.world.once()
        self.assertEqual(done.code, 0, done)
        self.check_events(expected)
        self.assertEqual(a.staged(WEEK), members)
        self.assertEqual(done.events("retry"), [])
        self.assertLessEqual(max(r.at_once for r in a.gets()), max_transfers)

    def test_2_workers_4_transfers(self):
        self.standstill(2, 4)

    def test_4_workers_8_transfers(self):
        self.standstill(4, 8)


class RoundTripTest(Slots):
    """Small files far away: it is the round trip that takes the time, and one worker is enough for many of them, also on a
    machine where a file takes it a tenth of a second."""

    def test_small_files(self):
        a, n, transfers = self.a, 64, 8
        expected = self.put_events(n, 600)
        a.s3.behave("far", op="get", delay=1000)
        a.world.config["daemon"].update(workers=1, log_level="info")
        a.world.config["s3"]["max_transfers"] = transfers
        done = a.world.once()
        self.assertEqual(done.code, 0, done)
        self.check_events(expected)
        at_once = [r.at_once for r in a.gets()]
        self.assertLessEqual(max(at_once), transfers)
        # As the first ones come and the last ones go there are fewer.
        self.assertGreaterEqual(statistics.mean(at_once), transfers / 2, at_once)


class StallTest(Slots):
    """Helpers that live and get nowhere. A stall is told after ten times stall_timeout, at least half a minute."""

    def setUp(self):
        super().setUp()
        self.expected = self.put_events(1, 100_000)
        self.a.world.package_section["categories"] = "events"
        self.a.world.config["s3"]["stall_timeout"] = "3s"  # a busy machine stalls for a second
        self.a.world.config["daemon"]["workers"] = 1

    def stop_one(self, name):
        """Stops the helper in the midst of the file; what is said of it, once the file is there."""
        self.a.s3.behave("slow", op="get", drip=8_000, count=1)
        with Daemon(self.a.world) as d:
            d.wait("a worker has it", lambda: "DECRYPTING" in d.states().values())
            pid = d.helpers(name)[0]
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            stalled = d.until("stalled")
            self.assertGreater(time.monotonic() - began, 25)
            d.until("published")
            self.check_events(self.expected)
            self.assertNotIn(pid, d.helpers(name))
            self.assertEqual(len(d.events("stalled")), 1)
            self.assertTrue(d.events("helper-killed"))
            self.assertEqual(d.stop()[0], 0)
        return stalled

    def test_worker_that_does_not_get_on(self):
        """czard-fetch says every second that it is alive; that is no news."""
        stalled = self.stop_one("czard-decrypt")
        self.assertEqual(stalled.level, "warning")
        self.assertIn("1 object under way", stalled.message)
        self.assertIn("1 helper at work", stalled.message)

    def test_fetch_that_does_not_get_on(self):
        """The worker says every second that it waits."""
        stalled = self.stop_one("czard-fetch")
        self.assertIn("1 GET running", stalled.message)


if __name__ == "__main__":
    main()
