#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ten years of daily files, all known, and nothing new: what a poll asks of S3, and what it costs here.

The 7,300 objects are links to one message, so that S3 lists them at no cost; a real first run fills the ledger.
"""

import datetime
import os
import time
import unittest

from czardtest import keys, main
from czardtest.common import today
from czardtest.daemon import PATIENCE, Daemon, descriptors, memory, processor_time, switches
from czardtest.run import World, build_folder, is_sanitized, release_folder
from czardtest.s3d import S3d

OBJECTS = 7300
AWS_SYNC = 2.2  # seconds of CPU that one `aws s3 sync` of as many known objects takes
CHEAPER = 50
MIB = 1 << 20
TODAY = today()
POLLS = 10


class Idle(unittest.TestCase):
    def setUp(self):
        self.assertFalse(is_sanitized(release_folder()), "sanitizers change what is measured")
        os.environ.setdefault("CZARD_BUILD", str(build_folder()))  # where the key set is kept
        w = self.world = self.enterContext(World(build=release_folder(), with_tls=False, days=0, weeks=2, courses=1, rdx=2,
                                                 end=TODAY.isoformat(), neighbours=False))
        self.message = w.folder / "message"
        self.message.write_bytes(keys.key_set(keys.cache_folder(w.folder), w.org).encrypt(
            bytes.fromhex("1f8b08000000000000ff010000ffff0000000000000000")))
        self.objects(0, OBJECTS // 10)
        self.s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(self.s3.endpoint, tls_endpoint=False)
        w.config["daemon"].update(log_level="info", full_list_interval="365d", poll_interval="365d")

    def objects(self, first, end):
        """The days from the newest on, of both sites; end is how many objects there are then. Each of them is one message
        under many names."""
        org = self.world.org
        for n in range(first // 2, end // 2):
            date = (TODAY - datetime.timedelta(days=n + 1)).isoformat()
            for site in ("edx", "edge"):
                folder = self.world.package / "buckets/edx-course-data" / org / site / "events" / date[:4]
                folder.mkdir(parents=True, exist_ok=True)
                os.link(self.message, folder / f"{org}-{site}-events-{date}.log.gz.gpg")

    def poll(self, d):
        mark = d.mark()
        self.world.ini()
        d.signal(1)
        d.until("reloaded", mark)
        return d.until("poll-done", mark)

    def polls(self, d, n):
        """n polls of the cheap kind, at a short interval. Their entries."""
        mark = d.mark()
        d.wait(f"{n} polls", lambda: len(d.events("poll-done", mark)) >= n)
        return d.events("poll-done", mark)[:n]

    def usage(self, d):
        pids = [d.pid, *d.helpers("czard-fetch")]
        return sum(processor_time(p) for p in pids), sum(switches(p) for p in pids)

    def all_staged(self, d, objects):
        known = objects + len(self.world.facts["objects"])
        d.wait("all are staged", lambda: list(d.states().values()).count("PUBLISHED") >=
               known - len([o for o in self.world.facts["objects"] if o.get("superseded")]), 280)
        return known

    def costs(self, d, n):
        """Seconds of CPU that each of n polls takes, at one a second."""
        self.world.config["daemon"]["poll_interval"] = "1s"
        self.poll(d)  # the poll of the reload, a full one
        self.polls(d, 2)
        self.s3.forget_requests()
        self.counted_from = d.mark()
        used = [self.usage(d)[0]]
        for _ in range(n):
            entry, = self.polls(d, 1)
            used.append(self.usage(d)[0])
            self.assertNotIn("(full)", entry.message)
            self.assertIn(" 0 new", entry.message)
        return [after - before for before, after in zip(used, used[1:])]

    def test_idle(self):
        with Daemon(self.world) as d:
            d.until("poll-done")
            self.all_staged(d, OBJECTS // 10)
            of_a_tenth = self.costs(d, POLLS // 2)

            began = time.monotonic()
            self.objects(OBJECTS // 10, OBJECTS)
            self.world.config["daemon"]["poll_interval"] = "365d"
            self.poll(d)
            known = self.all_staged(d, OBJECTS)
            print(f"{known} objects known after {time.monotonic() - began:.0f} s")
            of_all = self.costs(d, POLLS)
            polls = [len(d.events("poll-done", self.counted_from))]
            requests = self.s3.requests()
            polls.append(len(d.events("poll-done", self.counted_from)))
            self.requests(requests, *polls)
            for name, costs in (("a tenth", of_a_tenth), ("all", of_all)):
                print(f"ms of CPU a poll, of {name}: " + " ".join(f"{c * 1000:.1f}" for c in costs))
            self.assertLess(sum(of_all) / POLLS, AWS_SYNC / CHEAPER)
            # the least of each: what else runs on the machine adds to a poll
            self.assertLess(min(of_all), 3 * min(of_a_tenth), "it grows with what is known")

            # Between polls.
            self.world.config["daemon"]["poll_interval"] = "1h"
            self.poll(d)
            self.settles(d)
            fetch, = d.helpers("czard-fetch")
            pids = {"czard": d.pid, "czard-fetch": fetch}
            resident = {name: memory(pid) / MIB for name, pid in pids.items()}
            print("resident: " + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in resident.items()))
            open_files = {name: descriptors(pid) for name, pid in pids.items()}
            self.sleeps(d)
            self.assertEqual({name: descriptors(pid) for name, pid in pids.items()}, open_files)
            self.assertLess(sum(resident.values()), 40)
            self.assertEqual(d.stop()[0], 0)

    def settles(self, d):
        """What a poll leaves to do is done."""
        end = time.monotonic() + PATIENCE
        before = None
        while (now := self.usage(d)) != before:
            self.assertLess(time.monotonic(), end, "it does not come to rest")
            before = now
            time.sleep(3)

    def sleeps(self, d):
        """10 s without a single wake-up. A daily timer may be due just then, so there are three tries."""
        wake_ups = 0
        for _ in range(3):
            before = self.usage(d)
            time.sleep(10)
            after = self.usage(d)
            self.assertLess(after[0] - before[0], 0.002, "seconds of CPU in 10 s")
            if after[1] == before[1]:
                return
            wake_ups += after[1] - before[1]
            self.assertLess(wake_ups, 3, "wake-ups")
        self.fail(f"{wake_ups} wake-ups, some in each 10 s")

    def requests(self, requests, least, most):
        """One LIST for each active prefix and poll, of which there were so many, and no other request."""
        org, year = self.world.org, TODAY.year
        new_year = TODAY.timetuple().tm_yday == 1  # of which there is no file yet
        self.assertEqual({r.op for r in requests}, {"list"})
        self.assertEqual({r.status for r in requests}, {200})
        asked = {}
        for r in requests:
            asked.setdefault((r.bucket, r.key), []).append(r.more.get("start_after"))
        expected = {("course-data", f"{org}-"): "by date", ("edx-course-data", f"{org}/rdx/"): None,
                    ("course-data", f"email-opt-in/{org}-"): None, ("course-data", f"email-opt-in/email-opt-in-{org}-"): None}
        for site in ("edx", "edge"):
            expected["edx-course-data", f"{org}/{site}/events/{year}/"] = None
            expected["edx-course-data", f"{org}/{site}/events/{year - 1}/"] = "by date"
        self.assertEqual(set(asked), set(expected))
        for key, how in expected.items():
            # The log may cut a poll at either end.
            self.assertTrue(least - 1 <= len(asked[key]) <= most + 1, (key, len(asked[key])))
            if how is None:
                self.assertEqual(set(asked[key]), {None}, key)
            else:
                name, = set(asked[key])
                self.assertTrue(name.startswith(key[1]), name)
        last, = {n for n in asked["edx-course-data", f"{org}/edx/events/{year - 1}/"]}
        newest = datetime.date(year - 1, 12, 31) if not new_year else TODAY - datetime.timedelta(days=1)
        self.assertIn((newest - datetime.timedelta(days=30)).isoformat(), last)
        weekly = max(o["date"] for o in self.world.facts["objects"] if o["category"] == "database")
        database, = {n for n in asked["course-data", f"{org}-"]}
        self.assertIn((datetime.date.fromisoformat(weekly) - datetime.timedelta(days=30)).isoformat(), database)


if __name__ == "__main__":
    main()
