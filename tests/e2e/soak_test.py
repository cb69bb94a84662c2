#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Days of a daemon's life in a minute: short intervals, faults of S3, killed helpers, new and replaced objects, reloads.
In the end everything is staged, and memory, descriptors and processes are as after the warm-up.

CZARD_SOAK=long: 72 hours' worth of polls (one each 15 minutes) and at least 500 faults, in less than 5 minutes.
"""

import datetime
import os
import random
import signal
import time
import unittest

from czardtest import content, keys, main
from czardtest.common import today
from czardtest.daemon import PATIENCE, Daemon, Held, descriptors, memory
from czardtest.run import World, build_folder, modified_times
from czardtest.s3d import S3d

LONG = os.environ.get("CZARD_SOAK") == "long"
SECONDS = 200 if LONG else 40
FAULTS = 500 if LONG else 120
POLLS = 288 if LONG else 50
MIB = 1 << 20
# What must not be exceeded by the second half of the run over the first.
GROWTH = 1.5 * MIB

FAULTS_OF_LISTS = [{"status": 500, "code": "InternalError"}, {"status": 503, "code": "SlowDown"}, {"drop": 1},
                   {"delay": 300}, {"reset_at": "50%"}, {"truncate_at": "50%"}, {"status": 403, "code": "RequestTimeTooSkewed"}]
FAULTS_OF_GETS = [{"status": 500, "code": "InternalError"}, {"status": 503, "code": "SlowDown"}, {"drop": 1},
                  {"reset_at": "50%"}, {"reset_at": "last"}, {"truncate_at": "30%"}, {"stall_at": "40%", "seconds": 3},
                  {"drip": 4000}, {"status": 429, "code": "TooManyRequests", "retry_after": 1}]


class Soak(unittest.TestCase):
    def setUp(self):
        os.environ.setdefault("CZARD_BUILD", str(build_folder()))  # where the key set is kept
        seed = int(os.environ.get("CZARD_SOAK_SEED") or 17)
        print(f"CZARD_SOAK_SEED={seed}")
        self.rng = random.Random(seed)
        end = today() - datetime.timedelta(days=1)
        w = self.world = self.enterContext(World(with_tls=False, days=40, weeks=2, courses=1, rdx=2, event_size=8000,
                                                 member_size=300, end=end.isoformat()))
        self.s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(self.s3.endpoint, tls_endpoint=False)
        w.config["daemon"].update(poll_interval="300ms", full_list_interval="5s", workers=2, log_level="info")
        w.config["s3"]["stall_timeout"] = "1s"
        w.config["staging"]["keep_replaced"] = "0"
        self.keys = keys.key_set(keys.cache_folder(w.folder), w.org)
        self.events = [o for o in w.facts["objects"] if o["category"] == "events"]
        self.kills = self.reloads = self.replaced = 0

    # -- what happens to it --

    def fault(self):
        kind = self.rng.choice(["list", "get", "get"])
        fault = self.rng.choice(FAULTS_OF_LISTS if kind == "list" else FAULTS_OF_GETS)
        self.s3.behave(f"{kind}{self.rng.randrange(3)}", op=kind, count=2, **fault)

    def kill(self, d, *names):
        pids = [pid for name in names for pid in d.helpers(name)]
        if pids:
            try:
                os.kill(self.rng.choice(pids), signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass

    def replace(self):
        """An old key is written again, with other content."""
        o = self.rng.choice(self.given)
        self.replaced += 1
        data = content.gz(b'{"version": %d}\n' % self.replaced + content.event_lines(self.rng, "X", o["site"], o["date"], 4000))
        # Times of objects are whole seconds; each is later than the one before.
        o["last_modified"] += 60
        there = self.world.package / "buckets" / o["bucket"] / o["key"]
        new = self.world.folder / "new"
        new.write_bytes(self.keys.encrypt(data))
        os.utime(new, (o["last_modified"],) * 2)
        os.rename(new, there)
        (self.world.package / "expected" / o["path"]).write_bytes(data)

    def live(self, d, seconds, all_of_it):
        """So long, and until what is to happen has happened: a slow machine takes longer."""
        end, most = time.monotonic() + seconds, time.monotonic() + seconds + PATIENCE
        faults, polls = self.faults(), len(d.events("poll-done"))
        share = seconds / SECONDS

        def enough():
            return (self.faults() - faults >= share * FAULTS and len(d.events("poll-done")) - polls >= share * POLLS
                    and self.kills and self.replaced and (self.reloads or not all_of_it))
        while time.monotonic() < end or time.monotonic() < most and not enough():
            self.fault()
            if self.rng.random() < 0.2:
                self.kill(d, "czard-decrypt", *(["czard-fetch"] if all_of_it else []))
            if self.rng.random() < 0.1:
                d.signal(signal.SIGUSR1)
            if self.waiting and self.rng.random() < 0.4 * len(self.waiting) / len(self.events):
                o = self.waiting.pop()
                self.held.give(o["key"])
                self.given.append(o)
            if self.given and self.rng.random() < 0.1:
                self.replace()
            if all_of_it and self.rng.random() < 0.03:
                self.world.config["daemon"]["workers"] = self.rng.choice([1, 2, 3])
                self.world.ini()
                d.signal(signal.SIGHUP)
                self.reloads += 1
            self.assertIsNone(d.child.poll(), d.lines[-20:])
            time.sleep(0.1)

    def faults(self):
        """Requests that a behaviour met, and killed helpers."""
        return len([r for r in self.s3.requests() if "behaviour" in r.more]) + self.kills

    def quiet(self, d):
        """No faults any more: everything is staged. What is used then."""
        for file in self.s3.behaviours.iterdir():
            file.unlink()
        due = ("NEW", "FETCHING", "DECRYPTING", "RETRY")

        def done():
            if not set(d.states().values()) & set(due) and self.mtimes_are_right():
                return True
            mark = d.mark()
            d.signal(signal.SIGUSR1)
            d.until("poll-done", mark)
            time.sleep(0.5)
            return False
        d.wait("everything is staged", done)
        # A worker may have one: the gpg of its last message, that ended a moment after it was done.
        own = lambda: [z for z in d.zombies() if z.endswith(f" of {d.pid}")]  # noqa: E731
        d.wait("no zombie", lambda: not own() and len(d.zombies()) <= len(d.helpers("czard-decrypt")))
        self.world.config["daemon"]["workers"] = 2
        time.sleep(1)
        d.wait("one czard-fetch", lambda: len(d.helpers("czard-fetch")) == 1)
        fetch, = d.helpers("czard-fetch")
        workers = len(d.helpers("czard-decrypt"))
        return {"czard": memory(d.pid), "fetch": memory(fetch), "fetch pid": fetch, "workers": workers,
                "czard fds": descriptors(d.pid), "fetch fds": descriptors(fetch)}

    def mtimes_are_right(self):
        return all(os.path.exists(self.world.staging / o["path"]) and
                   int(os.stat(self.world.staging / o["path"]).st_mtime) == o["last_modified"] for o in self.given)

    # -- the test --

    def test_soak(self):
        self.waiting = self.rng.sample(self.events, len(self.events) * 3 // 4)
        self.given = [o for o in self.events if o not in self.waiting]
        self.held = Held(self.world, *[o["key"] for o in self.waiting])
        began = time.monotonic()
        with Daemon(self.world) as d:
            d.synced()
            self.live(d, SECONDS / 2, True)
            first = self.quiet(d)
            self.live(d, 2, False)  # a renewed czard-fetch has seen everything once
            first = self.quiet(d)
            self.live(d, SECONDS / 2, False)
            while self.waiting:
                o = self.waiting.pop()
                self.held.give(o["key"])
                self.given.append(o)
            last = self.quiet(d)
            faults, polls = self.faults(), len(d.events("poll-done"))
            print(f"{faults} faults ({self.kills} kills), {polls} polls, {self.replaced} replaced, {self.reloads} reloads, "
                  f"{time.monotonic() - began:.0f} s\nafter half: {first}\nat the end: {last}")
            self.assertEqual(d.stop()[0], 0)
        modified = modified_times(self.world.facts)
        self.assertEqual(self.world.differences(modified=modified), [])
        self.world.audit()
        self.assertEqual({s for s in d.states().values()} - {"PUBLISHED", "IGNORED"}, set())
        self.assertEqual([str(p) for p in self.world.run_folder.rglob("*")], [])
        self.assertEqual(first["fetch pid"], last["fetch pid"], "one czard-fetch lives through the second half")
        for name in ("czard", "fetch"):
            self.assertLessEqual(last[name] - first[name], GROWTH, name)
            if first[f"{name} fds"] is not None:
                # A worker has a channel; czard-fetch keeps up to max_transfers connections for the next requests.
                more = last["workers"] - first["workers"] if name == "czard" else 8
                self.assertLessEqual(last[f"{name} fds"] - first[f"{name} fds"] - more, 0, name)
        self.assertGreaterEqual(faults, FAULTS)
        self.assertGreaterEqual(polls, POLLS)
        self.assertGreater(min(self.kills, self.replaced, self.reloads), 0)


if __name__ == "__main__":
    main()
