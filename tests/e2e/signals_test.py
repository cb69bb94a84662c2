#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon and what comes from outside: signals, reloads, a wall clock that jumps. Without systemd."""

import datetime
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest
from pathlib import Path

from czardtest import main, package
from czardtest.common import today
from czardtest.daemon import Daemon, Held, status, until
from czardtest.run import World, children, differences, is_sanitized
from czardtest.s3d import S3d

TODAY = today()  # polls between full listings look at this year and the last
SECOND = ("AKIASECOND0000EXAMPLE", "another/secret+")
HELPERS = ("czard-fetch", "czard-decrypt")


def credentials(world, name, key, secret):
    path = world.folder / name
    path.write_text(f"User Name,Access Key Id,Secret Access Key\nczar,{key},{secret}\n")
    path.chmod(0o400)
    return path


class Case(unittest.TestCase):
    """One package and one S3 for all tests of a class; each test a czard that knows nothing."""
    package_options = {"days": 8, "weeks": 1, "courses": 1, "rdx": 1}

    @classmethod
    def setUpClass(cls):
        w = cls.world = cls.enterClassContext(World(with_tls=False, end=(TODAY - datetime.timedelta(days=1)).isoformat(),
                                                    **cls.package_options))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts, policy="open"))
        cls.s3.stop()
        with (cls.s3.folder / "credentials").open("a") as f:
            f.write(" ".join(SECOND) + "\n")
        cls.s3.start()
        w.use(cls.s3.endpoint, tls_endpoint=False)
        cls.events = [o for o in w.facts["objects"] if o["category"] == "events" and o["site"] == "edx"]

    def setUp(self):
        self.world.fresh()
        # Those of a daemon that a test kills stay until one with that state starts.
        self.world.run_folder = self.world.folder / f"run{self.world.generation}"
        self.world.run_folder.mkdir(mode=0o700)
        self.config = self.world.config
        self.config["daemon"].update(poll_interval="1h", workers=2)  # one for what is slow, one for the others
        self.s3.forget_requests()
        for file in self.s3.behaviours.iterdir():
            file.unlink()

    def held(self, *keys):
        held = Held(self.world, *keys)

        def give_back():
            for key in keys:
                if not held._there(key).exists():
                    held.give(key)
        self.addCleanup(give_back)
        return held

    def daemon(self, **kwargs):
        return self.enterContext(Daemon(self.world, **kwargs))

    def started(self, **kwargs):
        """A daemon that has staged all there is."""
        d = self.daemon(**kwargs)
        d.synced()
        return d

    def gets(self, key):
        return [r for r in self.s3.requests() if r.op == "get" and r.key == key]

    def state(self, key):
        return self.world.objects()[key]["state"]

    def slow(self, key, rate=20):
        """Until fast(): at this rate the smallest file takes longer than any test waits."""
        self.s3.behave("slow", op="get", key=key, drip=rate)

    def fast(self):
        (self.s3.behaviours / "slow").unlink()

    def under_way(self, d, key):
        d.until("ready")  # before that the ledger tells where the daemon before it was killed
        d.wait(f"{key} under way", lambda: d.states().get(key) in ("FETCHING", "DECRYPTING"))

    def nothing_left(self, pids):
        """Of these processes none runs, and nothing waits below the runtime folder."""
        until("helpers are gone", lambda: not [p for p in pids if os.path.exists(f"/proc/{p}")])


class UserSignals(Case):
    def test_a_listing_that_is_asked_for_during_a_poll_is_not_lost(self):
        d = self.started()
        self.s3.behave("slow", op="list", delay=3000)
        mark = d.mark()
        d.signal(signal.SIGUSR1)
        d.turned()
        for _ in range(2):  # the second and the third while the first runs: one more poll
            d.signal(signal.SIGUSR1)
            d.turned()
        d.wait("two polls", lambda: len(d.events("poll-done", mark)) == 2)
        time.sleep(4)
        polls = d.events("poll-done", mark)
        self.assertEqual(len(polls), 2)
        for entry in polls:
            self.assertIn("(full)", entry.message)

    def test_an_object_that_came_after_its_prefix_was_listed(self):
        key = self.events[0]["key"]
        held = self.held(key)
        d = self.started()
        # The archives' listing is slow: the events' one ends long before, without the object.
        self.s3.behave("slow", op="list", bucket="course-data", delay=1500)
        d.signal(signal.SIGUSR1)
        time.sleep(0.7)
        path = held.give(key)
        d.signal(signal.SIGUSR1)
        d.wait("it is staged", path.exists)

    def test_status(self):
        d = self.started()
        mark = d.mark()
        d.signal(signal.SIGUSR2)
        self.assertIn("0 under way; next poll in ", d.until("status", mark).message)

    def test_signals_that_must_not_kill(self):
        d = self.started()
        for number in (signal.SIGPIPE, signal.SIGCHLD):
            for pid in (d.pid, *d.helpers("czard-fetch"), *d.helpers("czard-decrypt")):
                os.kill(pid, number)
        d.poll()
        self.assertEqual(d.events("helper-died"), [])

    def test_retries_are_due_at_once(self):
        key = self.events[0]["key"]
        self.s3.behave("fault", op="get", key=key, status=503, code="SlowDown", retry_after=3000)
        d = self.daemon()
        d.until("poll-done")
        d.wait("RETRY", lambda: d.states().get(key) == "RETRY")
        (self.s3.behaviours / "fault").unlink()
        d.poll()
        d.wait("staged", lambda: self.state(key) == "PUBLISHED")


class Disk(Case):
    package_options = {"days": 2, "weeks": 1, "courses": 35, "rdx": 0}

    def test_members_of_a_large_snapshot_are_looked_at_to_the_last(self):
        d = self.started()
        self.assertEqual(d.events("missing"), [])
        folder = max((self.world.staging / self.world.org / "database").glob("2*"))
        members = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("SHA256SUMS", "MANIFEST.jsonl", "REJECTED"))
        self.assertGreater(len(members), 250, "more than are looked at in one turn of the loop")
        key, = [k for k, o in self.world.objects().items() if o["path"] == str(folder.relative_to(self.world.staging))]
        d.poll()
        d.poll()  # the second waits for no look of the first: none of them found anything
        self.assertEqual(d.events("missing"), [])
        members[-1].unlink()
        d.poll()
        self.assertEqual(d.until("missing").fields["CZARD_OBJECT"], key)
        d.turned()
        self.assertEqual(self.state(key), "MISSING")


class Stop(Case):
    package_options = {"days": 8, "weeks": 0, "courses": 1, "rdx": 0, "event_size": 400000}

    def test_during_a_transfer(self):
        key = self.events[-1]["key"]
        self.slow(key)
        d = self.daemon()
        self.under_way(d, key)
        d.wait("the others are staged", lambda: list(d.states().values()).count("PUBLISHED") ==
               len(self.world.facts["objects"]) - 1)
        below = children(d.pid)
        self.assertGreater(len(below), 1)
        code, seconds = d.stop()
        self.assertEqual(code, 0, d.lines[-20:])
        self.assertLess(seconds, 10)
        row = self.world.objects()[key]
        self.assertEqual((row["state"], row["attempts"]), ("NEW", 0))
        self.assertFalse((self.world.staging / self.events[-1]["path"]).exists())
        self.assertEqual([e.event for e in d.entries if e.event in ("stopping", "stopped")], ["stopping", "stopped"])
        self.nothing_left(below)
        self.assertEqual([str(p) for p in self.world.run_folder.rglob("*")], [])
        self.world.audit()
        self.fast()
        self.started()
        self.assertEqual(self.world.differences(), [])

    def test_a_second_signal_stops_at_once(self):
        key = self.events[-1]["key"]
        self.slow(key)
        for number, pause in ((signal.SIGTERM, 0), (signal.SIGINT, 0.002), (signal.SIGTERM, 0.01), (signal.SIGTERM, 0.05)):
            with self.subTest(pause=pause):
                d = self.daemon()
                self.under_way(d, key)
                below = children(d.pid)
                began = time.monotonic()
                d.signal(signal.SIGTERM)
                time.sleep(pause)
                d.signal(number)
                self.assertEqual(d.ended(), 0)
                self.assertLess(time.monotonic() - began, 6)
                self.nothing_left(below)
        # Frozen, so that both are there before it can act on the first.
        d = self.daemon()
        self.under_way(d, key)
        below = children(d.pid)
        d.signal(signal.SIGSTOP)
        d.signal(signal.SIGTERM)
        d.signal(signal.SIGINT)
        d.signal(signal.SIGCONT)
        self.assertEqual(d.ended(), 0)
        self.nothing_left(below)
        self.fast()
        self.started()
        self.assertEqual(self.world.differences(), [])

    def test_signals_while_it_leaves(self):
        for last in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=last.name):
                d = self.daemon()
                d.until("ready")
                d.signal(signal.SIGTERM)
                while d.child.poll() is None:
                    d.signal(last)
                self.assertEqual(d.child.returncode, 0)

    def test_signals_while_it_starts(self):
        d = self.daemon()
        d.until("started")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            d.signal(number)
        d.synced()
        # That its signals are blocked is not handed down.
        for name in HELPERS:
            for pid in d.helpers(name):
                hup = 1 << (signal.SIGHUP - 1)
                self.assertEqual(int(status(pid)["SigBlk"], 16) & hup, 0, name)
        self.assertEqual(d.stop()[0], 0)
        d = self.daemon()
        d.until("started")
        self.assertEqual(d.stop()[0], 0)

    def test_what_a_killed_one_leaves_is_cleared_up_by_the_next(self):
        key = self.events[-1]["key"]
        self.slow(key)
        d = self.daemon()
        self.under_way(d, key)
        below = children(d.pid)
        d.child.kill()
        self.nothing_left(below)
        homes = {p.parent for p in self.world.run_folder.rglob("gpg-agent.conf")}
        self.assertTrue(homes, "a key was in there")
        for home in homes:
            (home / "left").write_text("")
        self.fast()
        d = self.started()
        self.assertEqual([str(p) for p in self.world.run_folder.rglob("left")], [])
        self.assertEqual(self.world.differences(), [])
        self.assertEqual(d.stop()[0], 0)
        self.assertEqual([str(p) for p in self.world.run_folder.rglob("*")], [])

    def test_with_a_frozen_helper(self):
        key = self.events[-1]["key"]
        self.slow(key)
        d = self.daemon()
        self.under_way(d, key)
        below = children(d.pid)
        for name in HELPERS:
            for pid in d.helpers(name):
                os.kill(pid, signal.SIGSTOP)
        code, seconds = d.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 10)
        self.nothing_left(below)


class Notify(Case):
    """What a service manager hears, from a socket of our own."""
    package_options = {"days": 2, "weeks": 0, "courses": 1, "rdx": 0, "event_size": 40000}

    def setUp(self):
        super().setUp()
        self.socket = self.enterContext(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        path = self.world.folder / f"notify{self.world.generation}"
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.environment = (f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=1000000")
        self.heard = []

    def hear(self):
        """All messages so far, each a dict."""
        try:
            while True:
                self.heard.append(dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines()))
        except BlockingIOError:
            return self.heard

    def first(self, **wanted):
        """Where the first message with these values is; None: it has not come."""
        return next((i for i, m in enumerate(self.hear()) if all(m.get(k) == v for k, v in wanted.items())), None)

    def test_from_start_to_stop(self):
        key = self.events[-1]["key"]
        self.slow(key)
        d = self.daemon(environment=self.environment)
        d.wait("READY", lambda: self.first(READY="1") is not None)
        d.until("ready")
        self.assertFalse((self.world.staging / self.events[-1]["path"]).exists(), "not only after the first download")
        progress = re.compile(r"\d of \d objects, \S+ \S+ of \S+ \S+, 1 under way, \S+ \S+/s, \S+.* left")
        d.wait("progress", lambda: any(progress.match(m.get("STATUS", "")) for m in self.hear()))
        # A reload, good and bad.
        for wrong in (False, True):
            self.heard.clear()
            before = time.monotonic_ns() // 1000
            file = self.world.ini()
            if wrong:
                file.write_text("[daemon]\nno = 1\n")
            d.signal(signal.SIGHUP)
            d.wait("READY again", lambda: self.first(READY="1") is not None)
            at = self.first(RELOADING="1")
            self.assertLess(at, self.first(READY="1"))
            self.assertTrue(before <= int(self.heard[at]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000)
        # The watchdog is fed in time, at work and idle.
        self.fast()
        self.heard.clear()
        d.wait("watchdog", lambda: len([m for m in self.hear() if m.get("WATCHDOG") == "1"]) >= 6)
        self.heard.clear()
        self.assertEqual(d.stop()[0], 0)
        at = self.first(STOPPING="1")
        self.assertGreaterEqual(int(self.heard[at]["EXTEND_TIMEOUT_USEC"]), 10_000_000)

    def test_a_ledger_that_was_lost_takes_its_time(self):
        self.assertEqual(self.world.once().code, 0)
        for f in self.world.state.glob("ledger.db*"):
            f.unlink()
        d = self.daemon(environment=self.environment)
        d.wait("READY", lambda: self.first(READY="1") is not None)
        more = next(i for i, m in enumerate(self.heard) if "EXTEND_TIMEOUT_USEC" in m)
        self.assertLess(more, self.first(READY="1"))
        self.assertGreaterEqual(int(self.heard[more]["EXTEND_TIMEOUT_USEC"]), 600_000_000)

    def test_without_a_key_it_is_never_ready(self):
        self.config["openpgp"]["homedir"] = home = self.world.folder / "no-key"
        home.mkdir(mode=0o700)
        d = self.daemon(environment=self.environment)
        self.assertNotEqual(d.ended(), 0)
        self.assertTrue(d.events("started"))
        self.assertIsNone(self.first(READY="1"))


class Reload(Case):
    def test_a_bad_file_changes_nothing(self):
        key = self.events[0]["key"]
        held = self.held(key)
        self.config["daemon"]["poll_interval"] = "1s"
        d = self.started()
        good = self.world.ini().read_text()
        wrong = good.replace("poll_interval = 1s", "poll_interval = 1h\npoll_intervall = 2h")
        line = wrong.splitlines().index("poll_intervall = 2h") + 1
        (self.world.folder / "czard.ini").write_text(wrong)
        for _ in range(2):
            mark = d.mark()
            d.signal(signal.SIGHUP)
            entry = d.until("reload-refused", mark)
            self.assertIn(f"czard.ini:{line}:", entry.message)
            self.assertIn("poll_interval", entry.message)
            self.assertEqual(entry.level, "err")
        self.assertEqual(d.events("reloaded"), [])
        path = held.give(key)
        d.wait("it polls as before", path.exists)

    def test_an_interval(self):
        key = self.events[0]["key"]
        held = self.held(key)
        d = self.started()
        path = held.give(key)
        self.config["daemon"]["poll_interval"] = "500ms"
        d.reload()
        d.wait("it is staged", path.exists)
        mark = d.mark()
        d.wait("polls", lambda: len(d.events("poll-done", mark)) >= 3)
        self.config["daemon"]["poll_interval"] = "1h"
        d.reload()
        # one that was under way ends before it, and is not a full one
        d.wait("the poll of the reload", lambda: [e for e in d.events("poll-done", d.entries.index(d.events("reloaded")[-1]))
                                                  if "(full)" in e.message])
        mark = d.mark()
        time.sleep(2)
        self.assertEqual(d.events("poll-done", mark), [])

    def test_what_needs_a_restart_is_said(self):
        d = self.started()
        self.config["daemon"]["state_dir"] = self.world.folder / "elsewhere"
        self.assertRegex(d.reload().message, r"state_dir needs a restart")

    def test_the_key_of_a_package_that_went_goes_too(self):
        """Another data czar's: its worker ends, and the copy of its key is removed, also while one of its files is in work."""
        w, key = self.world, self.events[0]["key"]
        home = w.folder / f"second{w.generation}"
        shutil.copytree(w.package / "gnupg", home, ignore=shutil.ignore_patterns("S.*"))
        home.chmod(0o700)
        mine = dict(w.package_section)
        w.config[f"package {w.org}"].update(homedir=home, categories="events", sites="edx")
        w.config["package second"] = {"events": "s3://edx-course-data/second", "categories": "events", "sites": "edx"}
        self.slow(key)
        d = self.daemon()
        self.under_way(d, key)
        # A key's copies are its workers' homes, while they live, and the template of these.
        def copies():
            return {p.name[1:].split("-")[0] for p in w.run_folder.glob("*/[rtw][0-9]*-*")}
        self.assertEqual(copies(), {"0", "1"})
        d.wait("a worker has it", lambda: w.objects()[key]["state"] == "DECRYPTING")
        del w.config[f"package {w.org}"]
        d.reload()
        d.wait("its homes are gone", lambda: copies() == {"1"})
        d.wait("its workers are gone", lambda: not d.helpers("czard-decrypt") and not d.zombies())
        self.assertFalse((w.staging / self.events[0]["path"]).exists())
        # It comes back: under a number of its own, and without a restart.
        for file in self.s3.behaviours.iterdir():
            file.unlink()
        w.config[f"package {w.org}"] = {**mine, "homedir": home}
        self.assertEqual(d.reload().message, "configuration reloaded")
        d.wait("it is staged", (w.staging / self.events[0]["path"]).exists)
        self.assertEqual(copies(), {"1", "2"})

    def test_new_credentials_while_a_transfer_runs(self):
        running, later = self.events[0], self.events[1]
        held = self.held(running["key"], later["key"])
        self.config["s3"]["credentials"] = credentials(self.world, "first.csv", self.world.facts["access_key_id"],
                                                       self.world.facts["secret_access_key"])
        d = self.started()
        self.slow(running["key"])
        self.s3.forget_requests()
        first = held.give(running["key"])
        d.poll()
        d.wait("a worker has it", lambda: self.state(running["key"]) == "DECRYPTING")
        old = d.helpers("czard-fetch")
        self.config["s3"]["credentials"] = credentials(self.world, "second.csv", *SECOND)
        d.reload()
        second = held.give(later["key"])
        d.signal(signal.SIGUSR1)
        d.wait("the next one is staged", second.exists)
        self.assertFalse(first.exists(), "the slow one must still run, or this test says nothing")
        self.fast()
        d.wait("the slow one goes on", first.exists)
        slow, = self.gets(running["key"])
        self.assertEqual((slow.status, slow.more["access_key"]), (200, self.world.facts["access_key_id"]))
        quick, = self.gets(later["key"])
        self.assertEqual(quick.more["access_key"], SECOND[0])
        d.wait("the old czard-fetch ends", lambda: not set(old) & set(d.helpers("czard-fetch")))
        d.wait("no zombie", lambda: not d.zombies())
        self.assertEqual(len(d.helpers("czard-fetch")), 1)
        self.assertEqual(d.events("helper-died"), [])

    def test_a_reload_tries_refused_credentials_again(self):
        good = self.config["s3"]["credentials"]
        self.config["s3"]["credentials"] = credentials(self.world, "wrong.csv", "AKIAWRONG0000EXAMPLE", "x")
        d = self.daemon()
        for _ in range(2):
            entry = d.until("credentials-refused", CZARD_ACCESS_KEY_ID="AKIAWRONG0000EXAMPLE")
            self.assertEqual(entry.level, "err")
        # Another wrong one is told at once, too.
        self.config["s3"]["credentials"] = credentials(self.world, "wrong2.csv", "AKIAWRONG0001EXAMPLE", "x")
        d.reload()
        d.until("credentials-refused", CZARD_ACCESS_KEY_ID="AKIAWRONG0001EXAMPLE")
        self.config["s3"]["credentials"] = good
        mark = d.mark()
        d.reload()
        d.synced(mark)
        self.assertEqual(self.world.differences(), [])

    def test_limits(self):
        key, other = self.events[0]["key"], self.events[1]["key"]
        held = self.held(key, other)
        d = self.started()
        self.config["limits"] = {"max_plaintext": "1K"}
        d.reload()
        held.give(key)
        d.signal(signal.SIGUSR1)
        self.assertEqual(d.until("rejected").fields["CZARD_OBJECT"], key)
        del self.config["limits"]
        d.reload()
        path = held.give(other)
        d.signal(signal.SIGUSR1)
        d.wait("within the limit", path.exists)
        self.assertEqual(self.state(key), "REJECTED")

    def test_workers(self):
        keys = [o["key"] for o in self.events[:4]]
        held = self.held(*keys)
        self.config["daemon"]["workers"] = 1
        d = self.started()

        def workers():  # without the one for what needs a gpg-agent: each has a home
            return len(list(self.world.run_folder.glob("*/w[0-9]*-*")))
        self.assertEqual(workers(), 1)
        self.slow("*")
        self.config["daemon"]["workers"] = 3
        d.reload()
        for key in keys:
            held.give(key)
        d.signal(signal.SIGUSR1)
        d.wait("three work", lambda: workers() == 3)
        self.config["daemon"]["workers"] = 1
        mark = d.mark()
        d.reload()
        self.fast()
        d.synced(mark)
        d.wait("one stays", lambda: workers() <= 1)
        d.wait("no zombie", lambda: not d.zombies())
        self.assertEqual(self.world.differences(), [])

    def test_another_package_with_a_key_of_its_own(self):
        d = self.started()
        folder = self.world.folder / f"other{self.world.generation}"
        facts = package.make(folder, org="otherx", days=3, weeks=1, courses=1, rdx=1, end=TODAY.isoformat(), neighbours=False)
        subprocess.run(["cp", "-a", "--", f"{folder}/buckets/.", self.world.package / "buckets"], check=True)
        self.config["package otherx"] = {
            "events": "s3://edx-course-data/otherx", "database": "s3://course-data", "homedir": folder / "gnupg",
            "email_opt_in": "s3://course-data/email-opt-in", "rdx": "s3://edx-course-data/otherx/rdx"}
        mark = d.mark()
        d.reload()
        published = lambda: [e for e in d.events("published", mark) if "CZARD_MEMBER" not in e.fields]  # noqa: E731
        wanted = len([o for o in facts["objects"] if not o.get("superseded")])
        d.wait("all of it is staged", lambda: len(published()) >= wanted)
        d.turned()
        self.assertEqual(differences(folder / "expected" / "otherx", self.world.staging / "otherx"), [])
        self.assertEqual(differences(self.world.package / "expected" / self.world.org,
                                     self.world.staging / self.world.org), [])
        self.assertEqual(len(published()), wanted, "nothing is fetched twice")
        # And without it again: nothing is deleted.
        del self.config["package otherx"]
        mark = d.mark()
        d.reload()
        d.until("poll-done", mark)
        self.assertEqual(differences(folder / "expected" / "otherx", self.world.staging / "otherx"), [])


@unittest.skipIf(is_sanitized(), "a sanitizer's runtime must be the first that is loaded")
class Clock(Case):
    """The wall clock jumps (NTP, an admin's hand, a dead battery)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shim = cls.world.folder / "clock_shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", cls.shim,
                        os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock_shim.c")], check=True)

    def setUp(self):
        super().setUp()
        self.config["daemon"]["poll_interval"] = "500ms"
        self.clock = self.world.folder / "clock"
        self.clock.write_bytes(bytes(8))

    def jump(self, seconds):
        with self.clock.open("r+b", buffering=0) as f:
            f.write(struct.pack("=q", seconds))

    def shimmed(self):
        return {"environment": (f"CLOCK_SHIM={self.clock}", f"LD_PRELOAD={self.shim}")}

    def polls_go_on(self, d):
        """Neither silence nor a storm: two polls are not nearer to each other than the interval, less its jitter."""
        mark, began = d.mark(), time.monotonic()
        d.wait("polls", lambda: len(d.events("poll-done", mark)) >= 4)
        time.sleep(1)
        polls = len(d.events("poll-done", mark))
        self.assertLessEqual(polls, (time.monotonic() - began) / 0.45 + 2)

    def test_no_storm_and_no_silence(self):
        keys = [o["key"] for o in self.events[:4]]
        held = self.held(*keys)
        d = self.started(**self.shimmed())
        for key, hours in zip(keys, (72, -72, 1, -48)):
            with self.subTest(hours=hours):
                self.jump(hours * 3600)
                path = held.give(key)
                d.wait("it is staged", path.exists)
                d.wait("recorded", lambda: self.state(key) == "PUBLISHED")  # noqa: B023
                self.polls_go_on(d)
        self.assertEqual(self.world.differences(), [])
        self.world.audit()

    def expires_in(self, days):
        """A copy of the key that expires then."""
        home = self.world.folder / f"home{self.world.generation}"
        shutil.copytree(self.world.package / "gnupg", home, ignore=lambda _, names: [n for n in names if n.startswith("S.")])
        home.chmod(0o700)
        gpg = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        said = subprocess.run([*gpg, "--with-colons", "-K"], capture_output=True, text=True, check=True).stdout
        fingerprint = [line.split(":")[9] for line in said.splitlines() if line.startswith("fpr:")][0]
        subprocess.run([*gpg, "--quick-set-expire", fingerprint, f"{days}d"], check=True, capture_output=True)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        self.config["openpgp"]["homedir"] = home

    def test_late_files_and_a_key_that_expires_are_told_daily(self):
        self.expires_in(45)
        d = self.started(**self.shimmed())
        told = lambda mark: {(e.fields["CZARD_CATEGORY"], e.fields.get("CZARD_SITE")) for e in d.events("late", mark)}  # noqa: E731
        self.assertEqual(told(0), set())
        self.assertEqual(len(d.events("key-expiring")), 1, "less than 60 days")
        # Days from now; is a warning for less than 30 or 14 days due?
        for days, key in ((5, 0), (6, 0), (20, 1), (25, 0), (37, 1), (60, 1), (61, 1)):
            with self.subTest(days=days):
                mark = d.mark()
                self.jump(days * 86400)
                d.wait("polls", lambda: len(d.events("poll-done", mark)) >= 4)  # noqa: B023
                self.assertEqual(told(mark), {("events", "edx"), ("events", "edge")})
                self.assertEqual(len(d.events("late", mark)), 2, "once a day")
                self.assertEqual(len(d.events("key-expiring", mark)), key)
        self.assertIn("key expired at edX?", d.events("late")[-1].message)

    def test_a_retry_does_not_wait_for_a_clock_that_was_wrong(self):
        key = self.events[0]["key"]
        self.s3.behave("fault", op="get", key=key, status=503, code="SlowDown", retry_after=3000)
        self.jump(400 * 86400)
        d = self.daemon(**self.shimmed())
        d.wait("RETRY", lambda: d.states().get(key) == "RETRY")
        (self.s3.behaviours / "fault").unlink()
        self.jump(0)
        d.wait("staged", lambda: self.state(key) == "PUBLISHED")

    @unittest.skipIf(os.geteuid() != 0, "a locked process shows its timers to root only")
    def test_the_time_of_a_suspend_counts(self):
        d = self.started()
        clocks = set()
        for fd in os.listdir(f"/proc/{d.pid}/fd"):
            for line in Path(f"/proc/{d.pid}/fdinfo/{fd}").read_text().splitlines():
                if line.startswith("clockid: "):
                    clocks.add(int(line.split()[1]))
        self.assertIn(time.CLOCK_BOOTTIME, clocks)


if __name__ == "__main__":
    main()
