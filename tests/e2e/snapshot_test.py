#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weekly archives: what is fetched of them, what becomes visible and when, what is refused, what is shared, what is kept.

CZARD_TEST_KILLS=50 kills that often (default 8)."""

import errno
import hashlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from unittest import mock

from czardtest import disk_fault, keys, poison
from czardtest.run import Entry, check_sums, children, is_sanitized, program
from czardtest.zips import TABLES, Archives, course, directory_bytes, member, table_name, wait_until

WEEKS = [f"2024-{day}" for day in ("05-05", "05-12", "05-19", "05-26", "06-02", "06-09", "06-16", "06-23", "06-30", "07-07")]
WEEK = WEEKS[-1]
A, B, C = "UniversityX-A.1x-2024_T1", "UniversityX-B.2x-2023_T3", "UnivHSX-PH-207x-3T2022"


def setUpModule():
    if not os.environ.get("CZARD_TEST_CACHE") and not os.environ.get("CZARD_BUILD"):
        folder = unittest.enterModuleContext(keys.tempfile.TemporaryDirectory(prefix="czc.", dir="/tmp"))
        os.environ["CZARD_TEST_CACHE"] = folder


class Case(unittest.TestCase):
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 3000
        cls.a = cls.enterClassContext(Archives(**cls.options))
        cls.w = cls.a.world

    def setUp(self):
        self.a.fresh()
        self.rng = random.Random(self.id())

    def once(self, code=0, timeout=120, **staging):
        self.w.config["staging"].update(staging)
        done = self.w.once(timeout=timeout)
        self.assertEqual(done.code, code, done)
        return done

    def state(self, date=WEEK):
        return self.w.objects()[self.a.key(date)]

    def assert_staged(self, date, members, done=None):
        staged = self.a.staged(date)
        self.assertIsNotNone(staged, done)
        self.assertEqual(set(staged), set(members), done)
        self.assertEqual([p for p in members if staged[p] != members[p]], [], done)
        status, said = check_sums(self.a.folder(date))
        self.assertEqual(status, 0 if members else status, said)


class FilterTest(Case):
    def many(self, courses=100):
        """Courses of 12 tables. They lie in the archive course by course."""
        members = {}
        for n in range(courses):
            members.update(course(self.rng, f"UniversityX-M{n:03d}x-2024_T1", TABLES[:12]))
        return members

    def check_wire(self, entries, wanted_course):
        data = self.a.pack(entries)
        self.a.put(WEEK, data)
        self.w.package_section["courses"] = wanted_course
        done = self.once()
        wanted = [(name, e) for name, e in entries if wanted_course in name]
        self.assertEqual(len(self.a.staged(WEEK)), len(wanted), done)
        beside = self.a.sent(WEEK) - directory_bytes(data)
        self.assertLess(beside, len(data) * 0.03)
        extents = sum(30 + len(name) + len(e) for name, e in wanted)
        self.assertLess(beside - extents, len(data) * 0.02)
        self.assertGreaterEqual(beside, extents)

    def test_one_course_of_a_hundred(self):
        self.check_wire(self.a.entries(WEEK, self.many()), "UniversityX-M042x-2024_T1")
        self.assertLessEqual(len(self.a.gets()), 4, "its members are neighbours: few requests")

    def test_one_course_scattered_over_the_archive(self):
        entries = self.a.entries(WEEK, self.many())
        self.rng.shuffle(entries)
        self.check_wire(entries, "UniversityX-M042x-2024_T1")

    def test_all_of_it_comes_in_few_requests(self):
        members = self.many()
        data = self.a.put_members(WEEK, members)
        self.once()
        self.assert_staged(WEEK, members)
        self.assertLess(self.a.sent(WEEK), len(data) * 1.02 + 4096)
        self.assertLess(len(self.a.gets()), 30)

    def test_many_requests_come_on_few_connections(self):
        entries = self.a.entries(WEEK, self.many(40))
        self.rng.shuffle(entries)
        self.a.put(WEEK, self.a.pack(entries))
        self.w.package_section["courses"] = "UniversityX-M00*-2024_T1 UniversityX-M01*-2024_T1"
        self.w.config["s3"]["max_transfers"] = 4
        done = self.once()
        self.assertEqual(len(self.a.staged(WEEK)), 20 * 12, done)
        self.assertGreater(len(self.a.gets()), 60, "too few of them to tell")
        used = Counter(r.connection for r in self.a.s3.requests())
        self.assertLessEqual(len(used), 4 + 4, used)

    @unittest.skipIf(is_sanitized(), "a preload cannot stand before the sanitizers' own")
    def test_members_share_barriers(self):
        """Neither a file nor a row waits for the disk alone."""
        members = self.many(40)
        self.a.put_members(WEEK, members)
        log = self.w.folder / "calls"
        environment = {**self.w.environment(), **disk_fault.environment(log, ROOTS=f"{self.w.staging}:{self.w.state}")}
        with mock.patch.object(self.w, "environment", lambda: environment):
            done = self.once()
        self.assert_staged(WEEK, members, done)
        calls = Counter(key.split(":")[0] for key, *_ in disk_fault.notes(log))
        barriers = sum(calls[name] for name in ("fsync", "fdatasync", "syncfs"))
        self.assertGreater(barriers, 0, calls)
        # each of three transfers writes its rows four times a second, however few
        self.assertLess(barriers, len(members) / 20 + 40 + 12 * done.seconds, calls)

    def test_every_request_names_the_version(self):
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:3]))
        self.once()
        self.assertTrue(self.a.gets())
        self.assertEqual([r for r in self.a.gets() if "if_match" not in r.more], [])


class WidenTest(Case):
    def setUp(self):
        super().setUp()
        self.of = {c: course(self.rng, c, TABLES[:6], 20000) for c in (A, B, C)}
        self.data = self.a.put_members(WEEK, {k: v for m in self.of.values() for k, v in m.items()})

    def test_only_the_new_members_are_fetched(self):
        self.w.package_section["courses"] = A
        self.once()
        self.assert_staged(WEEK, self.of[A])
        inodes = {p: os.stat(self.a.folder(WEEK) / p).st_ino for p in self.of[A]}
        self.a.s3.forget_requests()
        self.w.package_section["courses"] = f"{A} {B}"
        seen, stop = [], threading.Event()

        def watch():
            while not stop.is_set():
                try:
                    folder = os.stat(self.a.folder(WEEK)).st_ino
                    few = len(os.listdir(self.a.folder(WEEK))) < len(self.of[A]) + 1
                    if few and os.stat(self.a.folder(WEEK)).st_ino == folder:  # not the old one, on its way out
                        seen.append("fewer members")
                except OSError as e:
                    seen.append(e)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            done = self.once()
        finally:
            stop.set()
            watcher.join()
        self.assertEqual(seen, [])
        self.assert_staged(WEEK, self.of[A] | self.of[B], done)
        self.assertEqual(inodes, {p: os.stat(self.a.folder(WEEK) / p).st_ino for p in self.of[A]})
        size_b = sum(i.compress_size + 200 for i in zipfile.ZipFile(self.a.bucket / self.a.key(WEEK)).infolist() if B in i.filename)
        self.assertLess(self.a.sent(WEEK), size_b + directory_bytes(self.data) + 8192)
        self.assertEqual(self.a.latest(), WEEK)
        self.assertFalse((self.a.folder(WEEK).parent / ".replaced").exists())
        self.assertEqual([n for n in os.listdir(self.a.folder(WEEK).parent) if n.startswith(".")], [])

    def test_an_unchanged_filter_fetches_nothing(self):
        self.w.package_section["courses"] = A
        self.once()
        self.a.s3.forget_requests()
        self.w.config["daemon"]["poll_interval"] = "20min"  # another configuration, the same filter
        self.once()
        self.assertEqual(self.a.gets(), [])

    def test_another_filter_keeps_what_is_there(self):
        self.w.package_section["courses"] = A
        self.once()
        self.w.package_section["courses"] = B
        done = self.once()
        self.assert_staged(WEEK, self.of[A] | self.of[B], done)

    def test_by_reload(self):
        self.by_reload(lambda: self.a.staged(WEEK))

    def test_by_reload_while_it_is_in_work(self):
        self.a.s3.behave("slow", op="get", key=self.a.key(WEEK), drip=1000)
        self.by_reload(lambda: (self.a.folder(WEEK).parent / f".{WEEK}.partial").is_dir())

    def by_reload(self, when):
        self.w.package_section["courses"] = A
        child = self.w.start()
        try:
            self.assertTrue(wait_until(when))
            self.w.package_section["courses"] = "*"
            self.w.ini()
            child.send_signal(signal.SIGHUP)
            (self.a.s3.behaviours / "slow").unlink(missing_ok=True)
            everything = {k for m in self.of.values() for k in m}
            self.assertTrue(wait_until(lambda: set(self.a.staged(WEEK) or ()) == everything), self.a.staged(WEEK).keys())
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=90)
        finally:
            child.kill()
            child.wait()
        self.assertEqual(child.returncode, 0, said)


class Killer:
    """Runs czard --once until it ends by itself, while its programs are killed at random moments."""

    def __init__(self, case, kills):
        self.case, self.left, self.done = case, kills, []
        self.taken, self.runs, self.errors = 0, 0, []

    def _read(self, child):
        for line in child.stderr:
            found = re.search(rb"(\d+) members of \S+ are with a worker", line)
            self.taken += int(found[1]) if found else 0
            if line.startswith(b"err "):
                self.errors.append(line.decode())

    def _victim(self, child, rng):
        pids = {}
        for pid in children(child.pid):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if name in ("czard-decrypt", "czard-fetch"):
                pids.setdefault(name, []).append(pid)
        pids["czard"] = [child.pid]
        name = rng.choice(sorted(pids))
        return name, rng.choice(pids[name])

    def run(self, rng):
        end, before = time.monotonic() + 60 + 12 * self.left, 0
        while True:
            child = self.case.w.start("--once")
            self.runs += 1
            reader = threading.Thread(target=self._read, args=(child,))
            reader.start()
            while child.poll() is None and time.monotonic() < end:
                if self.left and self.taken > before:
                    # members are under way since the last one
                    time.sleep(0.4 * rng.random())
                    name, pid = self._victim(child, rng)
                    try:
                        os.kill(pid, signal.SIGKILL)
                        self.left -= 1
                        self.done.append(name)
                        before = self.taken
                    except ProcessLookupError:
                        pass
                else:
                    time.sleep(0.01)
            if child.poll() is None:
                self.case.w._kill(child)
            child.wait()
            reader.join()
            child.stdout.close()
            child.stderr.close()
            if child.returncode != -signal.SIGKILL or time.monotonic() > end:
                return child.returncode


class KillTest(Case):
    options = {"key_bits": 3072}

    def test_killed_at_random_moments(self):
        kills = int(os.environ.get("CZARD_TEST_KILLS", 8))
        members = {}
        for n in range(10 + 8 * kills):
            members.update(course(self.rng, f"UniversityX-K{n:03d}x-2024_T1", TABLES[:20], 600))
        self.a.put_members(WEEK, members)
        killer = Killer(self, kills)
        code = killer.run(random.Random(os.environ.get("CZARD_TEST_SEED", "kill")))
        while killer.left == 0 and code == 1 and self.a.staged(WEEK) is None and killer.runs < kills + 3:
            code = killer.run(random.Random(0))
        self.assertEqual(code, 0, killer.errors)
        self.assertEqual(killer.left, 0, "the archive was staged before all kills were done")
        self.assert_staged(WEEK, members)
        twice = killer.taken - len(members)
        print(f"{len(members)} members, killed {killer.done}, taken twice: {twice}", file=sys.stderr)
        self.assertLessEqual(twice, 64 * 2 * kills)
        self.assertEqual({m["state"] for m in self.w.members(self.a.key(WEEK)).values()}, {"PUBLISHED"})
        lines, _ = self.w.audit()
        published = [line for line in lines if line["event"] == "published"]
        self.assertEqual(len(published), 1, published)
        self.assertEqual([n for n in os.listdir(self.a.folder(WEEK).parent) if n.startswith(".")], [])


class ResumedTest(Case):
    def test_what_was_staged_under_another_mode_is_not_taken_over(self):
        members = {}
        for n in range(30):
            members.update(course(self.rng, f"UniversityX-M{n:02d}x-2024_T1", TABLES[:4]))
        self.a.put_members(WEEK, members)
        # the directory comes, of the rest a part
        self.a.s3.behave("stuck", op="get", key=self.a.key(WEEK), after=2, stall_at="60%")
        partial = self.a.folder(WEEK).with_name(f".{WEEK}.partial")
        child = self.w.start("--once")
        try:
            self.assertTrue(wait_until(lambda: partial.is_dir() and len(os.listdir(partial)) > 20))
            child.terminate()
            child.communicate(timeout=60)
        finally:
            self.w._kill(child)
        (self.a.s3.behaviours / "stuck").unlink()
        self.assertGreater(len(os.listdir(partial)), 20)
        self.once(file_mode="0400")
        self.assert_staged(WEEK, members)
        modes = {p.stat().st_mode & 0o777 for p in self.a.folder(WEEK).rglob("*") if p.is_file()}
        self.assertEqual(modes, {0o400})


class ReplacedTest(Case):
    def test_in_the_middle_it_starts_again_and_is_never_mixed(self):
        names = [f"UniversityX-R{n:02d}x-2024_T1" for n in range(20)]
        old = {k: v for n in names for k, v in course(self.rng, n, TABLES[:12]).items()}
        new = {k: v for n in names for k, v in course(self.rng, n, TABLES[:12]).items()}
        self.a.put_members(WEEK, old)
        other = self.a.s3.behaviours / "files"
        other.mkdir(exist_ok=True)
        (other / "new.zip").write_bytes(self.a.pack(self.a.entries(WEEK, new)))
        self.a.s3.behave("replace", key=self.a.key(WEEK), op="get", after=4, count=1, replace_with="files/new.zip")
        done = self.once()
        self.assert_staged(WEEK, new, done)
        self.assertTrue([e for e in done.events("retry") if e.fields.get("CZARD_CAUSE") == "replaced"], done)
        versions = {r.more.get("if_match") for r in self.a.gets()}
        self.assertEqual(len(versions), 2, versions)

    def test_a_replaced_one_is_kept(self):
        old, new = course(self.rng, A, TABLES[:3]), course(self.rng, A, TABLES[:4])
        self.a.put_members(WEEK, old)
        self.once()
        etag = self.state()["etag"].strip('"')
        self.a.put_members(WEEK, new, modified=int(time.time()))
        done = self.once()
        self.assert_staged(WEEK, new, done)
        kept = self.a.folder(WEEK).parent / ".replaced" / f"{WEEK}-{etag}"
        self.assertEqual({p.name: p.read_bytes() for p in kept.iterdir() if p.name not in ("SHA256SUMS", "MANIFEST.jsonl")}, old)
        self.assertEqual(len(done.events("replaced")), 1, done)
        self.assertEqual(self.a.latest(), WEEK)

    def test_a_replaced_one_is_not_kept(self):
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:3]))
        self.once()
        new = course(self.rng, A, TABLES[:4])
        self.a.put_members(WEEK, new, modified=int(time.time()))
        done = self.once(keep_replaced=0)
        self.assert_staged(WEEK, new, done)
        self.assertFalse((self.a.folder(WEEK).parent / ".replaced").exists())


class IncompleteTest(Case):
    def damaged(self):
        """An archive with one damaged and one truncated member. Returns what is good in it, and names of the bad."""
        good = course(self.rng, A, TABLES[:5])
        bad = course(self.rng, B, TABLES[:2])
        entries = self.a.entries(WEEK, good)
        broken = self.a.entries(WEEK, bad)
        entries[2:2] = [(broken[0][0], poison.flip(broken[0][1], len(broken[0][1]) // 2)),
                        (broken[1][0], broken[1][1][:len(broken[1][1]) // 2])]
        self.a.put(WEEK, self.a.pack(entries))
        return good, [name for name, _ in broken]

    def test_publish(self):
        good, bad = self.damaged()
        done = self.once(1)
        self.assert_staged(WEEK, good, done)
        self.assertEqual(set(self.a.rejected(WEEK)), set(bad))
        self.assertLessEqual(set(self.a.rejected(WEEK).values()), set(poison.DAMAGED))
        said = {e.fields.get("CZARD_MEMBER"): e for e in done.events("rejected")}
        self.assertEqual(set(said), set(bad))
        self.assertEqual({e.level for e in said.values()}, {"err"})
        self.assertNotIn("REJECTED", (self.a.folder(WEEK) / "SHA256SUMS").read_text())
        self.assertIsNone(self.a.latest())
        self.assertEqual(self.state()["state"], "PUBLISHED")
        # not tried again
        self.a.s3.forget_requests()
        self.once()
        self.assertEqual(self.a.gets(), [])

    def test_hold(self):
        self.damaged()
        done = self.once(1, incomplete_snapshots="hold")
        self.assertIsNone(self.a.staged(WEEK), done)
        self.assertEqual(self.state()["state"], "REJECTED")
        self.assertTrue([e for e in done.events("rejected") if "CZARD_MEMBER" not in e.fields], done)
        self.a.s3.forget_requests()
        self.once()
        self.assertEqual(self.a.gets(), [])

    def test_hold_of_a_whole_one(self):
        members = course(self.rng, A, TABLES[:3])
        self.a.put_members(WEEK, members)
        self.once(incomplete_snapshots="hold")
        self.assert_staged(WEEK, members)

    def test_failed_at_source(self):
        failed = table_name(A, "wiki_article") + ".failed"
        members = course(self.rng, A, TABLES[:3]) | {failed: b"Traceback\n"}
        self.a.put_members(WEEK, members)
        done = self.once()
        self.assert_staged(WEEK, members, done)
        warned = done.events("member-failed-at-source")
        self.assertEqual([(e.level, e.fields["CZARD_COURSE"], e.fields["CZARD_TABLE"]) for e in warned],
                         [("warning", A, "wiki_article")])


class ChangeTest(Case):
    def changed(self, first, second):
        self.a.put_members(WEEKS[-2], first)
        self.once()
        self.a.put_members(WEEK, second)
        return self.once().events("snapshot-changed")

    def test_summary(self):
        x, y, z = (course(self.rng, c, TABLES[:4]) for c in (A, B, C))
        second = x | z
        second[table_name(A, TABLES[0])] = b"id\n"
        second[table_name(A, TABLES[1])] = b""
        del second[table_name(A, TABLES[2])]
        second[table_name(A, "wiki_article")] = b"id\n1\n"
        said = self.changed(x | y, second)
        self.assertEqual([e.level for e in said], ["warning"])
        for text in (f"1 courses appeared ({C})", f"1 courses vanished ({B})", f"1 tables appeared ({A} wiki_article)",
                     f"1 tables vanished ({A} {TABLES[2]})", f"{A} {TABLES[0]}", f"1 are empty ({A} {TABLES[1]})"):
            self.assertIn(text, said[0].message)
        self.assertIn("2 shrank by more than half", said[0].message)

    def test_appeared_only(self):
        x, z = course(self.rng, A, TABLES[:4]), course(self.rng, C, TABLES[:2])
        said = self.changed(x, x | z)
        self.assertEqual([e.level for e in said], ["notice"])

    def test_nothing_changed(self):
        x = course(self.rng, A, TABLES[:4])
        self.assertEqual(self.changed(x, x), [])

    def test_a_filter_is_no_change(self):
        x, y = course(self.rng, A, TABLES[:4]), course(self.rng, B, TABLES[:4])
        self.a.put_members(WEEKS[-2], x | y)
        self.once()
        self.w.package_section["courses"] = A
        self.a.put_members(WEEK, x | y)
        self.assertEqual(self.once().events("snapshot-changed"), [])
        self.assertEqual(self.a.latest(), WEEK)


def room_of(folder):
    """Bytes of the files below folder, each inode once."""
    seen = {}
    for path in Path(folder).rglob("*"):
        s = path.lstat()
        if path.is_file() and path.name not in ("SHA256SUMS", "MANIFEST.jsonl"):
            seen[s.st_ino] = s.st_size
    return sum(seen.values())


class SpellingTest(Case):
    """Two keys for one opt-in date. Both are one folder, and the later upload has it."""
    DATE = "2024-07-06"

    def setUp(self):
        super().setUp()
        self.w.package_section.update(categories="email-opt-in", email_opt_in="s3://course-data/email-opt-in")
        self.first, self.second = f"{self.w.org}-{self.DATE}", f"email-opt-in-{self.w.org}-{self.DATE}"
        self.folder = self.w.staging / self.w.org / "email-opt-in" / self.DATE
        self.old, self.new = b"email\nold\n", b"email\nnew\n"
        self.put(self.first, self.old, hour=1)
        self.once()

    def put(self, spelling, text, hour):
        at = self.a.bucket / "email-opt-in" / f"{spelling}.zip"
        at.parent.mkdir(exist_ok=True)
        member = "UniversityX-email_opt_in-prod-analytics.csv"
        at.write_bytes(self.a.pack([(f"{spelling}/{name}.gpg", data) for name, data in self.a.encrypt({member: text}).items()]))
        os.utime(at, (1720000000 + 3600 * hour,) * 2)
        return f"email-opt-in/{spelling}.zip"

    def staged(self, folder=None):
        (file,) = (folder or self.folder).glob("*.csv")
        return file.read_bytes()

    def check_taken_over(self, done):
        loser, winner = (self.w.objects()[f"email-opt-in/{spelling}.zip"] for spelling in (self.first, self.second))
        self.assertEqual((winner["state"], self.staged()), ("PUBLISHED", self.new), done)
        self.assertEqual((loser["state"], loser["path"], loser["staged_etag"]), ("IGNORED", "", ""), done)
        self.assertEqual(self.w.members(loser["key"]), {})
        (kept,) = (self.folder.parent / ".replaced").iterdir()
        self.assertEqual(self.staged(kept), self.old)

    def test_the_later_one_replaces_the_other(self):
        self.put(self.second, self.new, hour=2)
        done = self.once()
        self.check_taken_over(done)
        self.assertEqual([e.event for e in done.entries if e.event in ("replaced", "published") and e.level == "info"],
                         ["replaced"], done)
        # and nothing is missing, or due, after that
        self.a.s3.forget_requests()
        again = self.once()
        self.check_taken_over(again)
        self.assertEqual((again.events("missing"), self.a.gets()), ([], []), again)

    def test_forgetting_the_loser_leaves_the_winner(self):
        self.put(self.second, self.new, hour=2)
        self.once()
        done = subprocess.run([program("czarctl"), "--config", self.w.ini(), "forget", f"email-opt-in/{self.first}.zip",
                               "--reason", "a test"], capture_output=True, env=self.w.environment(), check=False)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.staged(), self.new)

    def test_a_lost_ledger_knows_whose_folder_it_is(self):
        self.put(self.second, self.new, hour=2)
        self.once()
        for file in self.w.state.glob("ledger.db*"):
            file.unlink()
        done = self.once()
        self.check_taken_over(done)
        self.assertEqual(done.events("missing"), [], done)

    def test_one_that_is_gone_keeps_its_folder(self):
        key = self.put(self.second, self.new, hour=2)
        self.once()
        (self.a.bucket / key).unlink()
        done = self.once()
        self.assertEqual(self.staged(), self.new, done)
        self.assertEqual(self.w.objects()[key]["state"], "GONE")


class DeduplicationTest(Case):
    @classmethod
    def setUpClass(cls):
        # on a disk: in memory a file has as many links as one likes, and PC_LINK_MAX says 127
        with mock.patch.dict(os.environ, CZARD_TEST_FOLDERS="/tmp"):
            super().setUpClass()

    def test_ten_weeks(self):
        archived = course(self.rng, A, TABLES[:14], 10000)
        for week in WEEKS:
            self.a.put_members(week, archived | course(self.rng, B, TABLES[:6], 10000))
        self.once()
        one, all_ = room_of(self.a.folder(WEEK)), room_of(self.a.folder(WEEK).parent)
        self.assertLess(all_, 4.5 * one)
        self.assertGreater(all_, 3 * one)
        for week in WEEKS:
            self.assertEqual(check_sums(self.a.folder(week))[0], 0)
        self.assertEqual(os.stat(self.a.folder(WEEK) / table_name(A, TABLES[0])).st_nlink, len(WEEKS))

    def two_weeks(self, between=lambda: None):
        members = course(self.rng, A, TABLES[:3])
        self.a.put_members(WEEKS[-2], members)
        self.once()
        between()
        self.a.put_members(WEEK, members)
        done = self.once()
        self.assert_staged(WEEK, members, done)
        files = [self.a.folder(w) / table_name(A, TABLES[0]) for w in WEEKS[-2:]]
        return [os.stat(f) for f in files]

    def test_shared(self):
        old, new = self.two_weeks()
        self.assertEqual(old.st_ino, new.st_ino)

    def test_not_with_an_altered_one(self):
        def alter():
            for file in self.a.folder(WEEKS[-2]).iterdir():
                before = file.stat()
                data = bytes(b ^ 1 for b in file.read_bytes())
                file.unlink()
                file.write_bytes(data)
                file.chmod(before.st_mode & 0o7777)
                os.chown(file, before.st_uid, before.st_gid)
                os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        old, new = self.two_weeks(alter)
        self.assertNotEqual(old.st_ino, new.st_ino)

    def test_a_large_one(self):
        big = {table_name(A, TABLES[0]): b"1\t2\n" * (10 << 20)}
        for week in WEEKS[-2:]:
            self.a.put_members(week, big)
            self.once()
        self.assert_staged(WEEK, big)
        old, new = (os.stat(self.a.folder(w) / table_name(A, TABLES[0])) for w in WEEKS[-2:])
        self.assertEqual((old.st_ino, old.st_size), (new.st_ino, 40 << 20))

    def test_switched_off(self):
        self.w.config["staging"]["deduplicate"] = "no"
        old, new = self.two_weeks()
        self.assertNotEqual(old.st_ino, new.st_ino)

    def test_not_with_another_mode(self):
        old, new = self.two_weeks(lambda: self.w.config["staging"].update(file_mode="0400"))
        self.assertNotEqual(old.st_ino, new.st_ino)
        self.assertEqual((old.st_mode & 0o777, new.st_mode & 0o777), (0o440, 0o400))

    @unittest.skipIf(os.geteuid() != 0, "only root gives files to any group")
    def test_not_with_another_group(self):
        old, new = self.two_weeks(lambda: self.w.config["staging"].update(database_group="daemon"))
        self.assertNotEqual(old.st_ino, new.st_ino)
        self.assertNotEqual(old.st_gid, new.st_gid)

    def test_not_across_organisations(self):
        members = course(self.rng, A, TABLES[:2])
        self.a.put_members(WEEK, members)
        other = self.a.bucket / f"otherx-{WEEK}.zip"
        other.write_bytes(self.a.pack([(f"otherx-{WEEK}/{p}.gpg", d) for p, d in self.a.encrypt(members).items()]))
        self.w.config["package otherx"] = {"categories": "database", "database": "s3://course-data"}
        try:
            done = self.once()
        finally:
            other.unlink()
        self.assert_staged(WEEK, members, done)
        name = table_name(A, TABLES[0])
        theirs = self.w.staging / "otherx/database" / WEEK / name
        self.assertEqual(theirs.read_bytes(), members[name])
        self.assertNotEqual(os.stat(theirs).st_ino, os.stat(self.a.folder(WEEK) / name).st_ino)

    def test_a_new_copy_when_links_run_out(self):
        # on a disk: what a tmpfs says of its links is not so
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="czt.", dir="/var/tmp")))
        self.w.staging = self.w.config["staging"]["path"] = folder / "staging"
        self.w.staging.mkdir(mode=0o750)
        most = os.pathconf(folder, "PC_LINK_MAX")
        if not 1 < most <= 65000:
            self.skipTest(f"{most} links a file")
        links = folder / "links"

        def use_up():
            links.mkdir()
            file = self.a.folder(WEEKS[-2]) / table_name(A, TABLES[0])
            for n in range(most - os.stat(file).st_nlink):
                os.link(file, links / str(n))
        old, new = self.two_weeks(use_up)
        self.assertEqual(old.st_nlink, most)
        self.assertNotEqual(old.st_ino, new.st_ino)
        self.assertEqual(new.st_nlink, 1)


class KeepTest(Case):
    def test_a_first_fetch_takes_the_newest(self):
        for week in WEEKS[-4:]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]))
        self.once(keep_snapshots=2)
        self.assertEqual({w for w in WEEKS[-4:] if self.a.staged(w)}, set(WEEKS[-2:]))
        bodies = [r.key for r in self.a.gets()]
        self.assertLess(bodies.index(self.a.key(WEEKS[-1])), bodies.index(self.a.key(WEEKS[-2])))
        self.assertEqual(self.state(WEEKS[-3])["state"], "IGNORED")

    def test_but_never_leaves_out_the_last_copy_of_a_course(self):
        x = lambda: course(self.rng, A, TABLES[:2])
        gone = course(self.rng, C, TABLES[:2])
        for week, members in zip(WEEKS[-5:], (x() | gone, x() | gone, x(), x(), x())):
            self.a.put_members(week, members)
        done = self.once(keep_snapshots=1)
        self.assertEqual({w for w in WEEKS[-5:] if self.a.staged(w)}, {WEEKS[-1], WEEKS[-4]}, done)
        # and that is known, not found out again
        self.a.s3.forget_requests()
        self.once()
        self.assertEqual(self.a.gets(), [])

    def test_a_lost_ledger_still_leaves_them_out(self):
        for week in WEEKS[-3:]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]))
        self.once(keep_snapshots=1)
        for file in self.w.state.glob("ledger.db*"):
            file.unlink()
        done = self.once()
        self.assertEqual({w for w in WEEKS[-3:] if self.a.staged(w)}, {WEEKS[-1]}, done)

    def test_a_copy_that_was_rejected_is_none(self):
        good = course(self.rng, C, TABLES[:1])
        self.a.put_members(WEEKS[-2], course(self.rng, A, TABLES[:2]) | good)
        bad = [(name, poison.flip(data, len(data) // 2)) for name, data in self.a.entries(WEEK, course(self.rng, C, TABLES[:1]))]
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, course(self.rng, A, TABLES[:2])) + bad))
        done = self.once(1, keep_snapshots=1)
        self.assertEqual(len(self.a.rejected(WEEK)), 1, done)
        self.assertLessEqual(set(good), set(self.a.staged(WEEKS[-2]) or {}), done)

    def test_one_more_week(self):
        """What was staged stays until it is pruned; what is new comes."""
        for week in WEEKS[-3:-1]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]))
        self.once(keep_snapshots=2)
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:2]))
        self.once()
        self.assertEqual({w for w in WEEKS[-3:] if self.a.staged(w)}, set(WEEKS[-3:]))


class LatestTest(Case):
    def test_follows(self):
        for week in WEEKS[-3:]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]))
            self.once()
            self.assertEqual(self.a.latest(), week)

    def test_not_to_one_that_lost_a_living_course(self):
        for week in WEEKS[-3:-1]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]) | course(self.rng, B, TABLES[:2]))
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:2]))
        self.once()
        self.assertEqual(self.a.latest(), WEEKS[-2])

    def test_but_to_one_that_lost_an_archived_course(self):
        archived = course(self.rng, B, TABLES[:2])
        for week in WEEKS[-3:-1]:
            self.a.put_members(week, course(self.rng, A, TABLES[:2]) | archived)
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:2]))
        self.once()
        self.assertEqual(self.a.latest(), WEEK)


class HostileTest(Case):
    """Each hostile member is refused alone: the good one beside it is staged."""

    def hostile(self, entries, causes, code=1, good=None, **limits):
        good = good or {table_name(A, TABLES[0]): b"id\n1\n"}
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, good) + entries))
        if limits:
            self.w.config["limits"] = limits
        before = set(os.listdir(self.w.folder))
        done = self.once(code)
        self.assert_staged(WEEK, good, done)
        rejected = self.a.rejected(WEEK)
        self.assertEqual(len(rejected), len(entries), done)
        self.assertLessEqual(set(rejected.values()), set(causes), done)
        self.assertEqual(set(os.listdir(self.w.folder)) - before - {"czard.ini"}, set())
        self.assertEqual(len([e for e in done.events("rejected") if "CZARD_MEMBER" in e.fields]), len(entries), done)
        return done

    def message(self, data=b"id\n1\n", *options):
        return self.a.encrypt({"x": data}, *options)["x"]

    def test_names(self):
        top, message = f"{self.a.org}-{WEEK}", self.message()
        for name in ("/etc/escape.sql.gpg", f"{top}/../escape.sql.gpg", "../../escape.sql.gpg", f"{top}/a\\b.sql.gpg",
                     f"{top}\\..\\b.sql.gpg", f"{top}/bell\a.sql.gpg", f"{top}/new\nline.sql.gpg", f"{top}/del\x7f.sql.gpg",
                     f"{top}/c1\x85.sql.gpg", f"{top}/./dot.sql.gpg", f"{top}//empty.sql.gpg", f"{top}/.hidden.gpg",
                     f"{top}/..gpg", f"{top}/.gpg", f"{top}/SHA256SUMS", f"{top}/REJECTED.gpg", f"{top}/latest.gpg",
                     f"{top}/SHA256SUMS/x.gpg"):
            with self.subTest(name):
                self.setUp()
                self.hostile([(name, message)], ["unsafe-name"])

    def test_nul_in_a_name(self):
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"a.sql": b"1\n", "bXc.sql": b"2\n"}))
                   .replace(b"/bXc.sql", b"/b\0c.sql"))
        done = self.once(1)
        self.assert_staged(WEEK, {"a.sql": b"1\n"}, done)
        self.assertEqual(list(self.a.rejected(WEEK).values()), ["unsafe-name"], done)

    def test_kinds(self):
        top, message = f"{self.a.org}-{WEEK}", self.message()
        for what, mode in (("link", 0o120777), ("fifo", 0o010644), ("device", 0o060644), ("socket", 0o140644)):
            with self.subTest(what):
                self.setUp()
                self.hostile([(member(f"{top}/{what}.sql.gpg", mode), message)], ["unsafe-name"])

    DIFFER_IN_CASE = (("x.sql.gpg", "X.sql.gpg"), ("ora/x.sql.gpg", "ORA/x.sql.gpg"), ("x.sql", "X.SQL.gpg"))

    def two(self, one, other, code):
        """An archive with these two besides a good one. Their messages are not the same."""
        top = f"{self.a.org}-{WEEK}"
        entries = [(f"{top}/{one}", self.message()), (f"{top}/{other}", self.message())]
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n"}) + entries))
        return self.once(code)

    def assert_both_refused(self, one, other, done):
        self.assert_staged(WEEK, {"good.sql": b"1\n"}, done)
        self.assertEqual(set(self.a.rejected(WEEK)), {f"{self.a.org}-{WEEK}/{name}" for name in (one, other)}, done)

    def test_collisions(self):
        for one, other in (("x.sql", "x.sql.gpg"), ("x.sql.gpg", "x.sql.gpg")):
            with self.subTest(f"{one} {other}"):
                self.setUp()
                self.assert_both_refused(one, other, self.two(one, other, 1))

    def test_names_that_differ_in_case(self):
        """They are two files where the staging file system tells them apart."""
        for one, other in self.DIFFER_IN_CASE[:2]:
            with self.subTest(f"{one} {other}"):
                self.setUp()
                done = self.two(one, other, 0)
                self.assert_staged(WEEK, {"good.sql": b"1\n", **{n.removesuffix(".gpg"): b"id\n1\n" for n in (one, other)}}, done)

    def test_names_that_differ_in_case_where_they_are_one_file(self):
        """A second name of .czard-id stands for a file system that folds case."""
        for one, other in self.DIFFER_IN_CASE:
            with self.subTest(f"{one} {other}"):
                self.setUp()
                self.once(0)
                os.link(self.w.staging / ".czard-id", self.w.staging / ".CZARD-ID")
                done = self.two(one, other, 1)
                self.assert_both_refused(one, other, done)
                self.assertIn("differs only in case", str(done.events("rejected")))

    def test_a_double_is_one_member(self):
        """Equal records, or equal bytes under one name: taken once, and nothing is wrong with it."""
        top, message = f"{self.a.org}-{WEEK}", self.message()
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n"}) + [(f"{top}/x.sql.gpg", message)] * 3))
        done = self.once(0)
        self.assert_staged(WEEK, {"good.sql": b"1\n", "x.sql": b"id\n1\n"}, done)
        self.assertEqual(done.events("rejected"), [])
        self.assertEqual(len(self.w.members(self.a.key(WEEK))), 2)

    def test_one_that_is_not_encrypted(self):
        """It is staged and said, and nobody claims that it is known who wrote it."""
        top = f"{self.a.org}-{WEEK}"
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n"}) + [(f"{top}/readme.txt", b"hello\n")]))
        done = self.once(0)
        self.assert_staged(WEEK, {"good.sql": b"1\n", "readme.txt": b"hello\n"}, done)
        said = [e for e in done.events("note") if "not encrypted" in e.message]
        self.assertEqual(len(said), 1, done)
        self.assertIn("1 of 2 members", said[0].message)
        self.assertEqual(said[0].fields["CZARD_MEMBER"], f"{top}/readme.txt")
        published = next(e for e in done.events("published") if e.fields["CZARD_PATH"].endswith(WEEK))
        self.assertIn("zip", published.message)
        self.assertNotIn("integrity", published.message)
        self.setUp()
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n"})))
        done = self.once(0)
        self.assertIn("integrity", next(e for e in done.events("published") if e.fields["CZARD_PATH"].endswith(WEEK)).message)
        self.assertEqual([e for e in done.events("note") if "not encrypted" in e.message], [])

    def test_forms_that_are_not_read(self):
        """A zip password, or another method: said as that, and not as damage; nor is it fetched twice."""
        members = {"good.sql": b"1\n", "locked.sql": b"2\n"}
        data = self.a.pack(self.a.entries(WEEK, members))
        for text, at_local, at_record, value in (("zip password", 6, 8, 1), ("bzip2", 8, 10, 12), ("LZMA", 8, 10, 14)):
            with self.subTest(text):
                self.setUp()
                changed = bytearray(data)
                name = f"{self.a.org}-{WEEK}/locked.sql.gpg".encode()
                local = changed.index(name) - 30
                record = changed.index(name, local + 40) - 46
                changed[local + at_local] = changed[record + at_record] = value
                self.a.put(WEEK, bytes(changed))
                done = self.once(1)
                self.assert_staged(WEEK, {"good.sql": b"1\n"}, done)
                self.assertEqual(list(self.a.rejected(WEEK).values()), ["unsupported-zip"], done)
                told = [e.message for e in done.events("rejected") if "CZARD_MEMBER" in e.fields]
                self.assertIn(text, told[0])
                self.assertNotIn("damaged", told[0])

    def test_bad_ones_are_fetched_again_as_a_run(self):
        """What czard-decrypt says of members must not be a way to ask for ranges of its choice."""
        bad = {f"{self.a.org}-{WEEK}/bad{n:02}.sql.gpg": self.message()[:-5] for n in range(40)}
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n"}) + list(bad.items())))
        done = self.once(1)
        self.assert_staged(WEEK, {"good.sql": b"1\n"}, done)
        self.assertEqual(set(self.a.rejected(WEEK)), set(bad), done)
        directory, *runs = self.a.gets(WEEK)
        self.assertEqual((len(runs), len({r.range for r in runs})), (2, 1), runs)

    def test_many_of_one_name(self):
        """None is more right than the others: the name is refused, once, and it takes no longer than of as many names."""
        top = f"{self.a.org}-{WEEK}"
        names = ["x", "X", "y"] * 300 + [f"two-{n}" for n in range(150)] * 2
        self.a.put(WEEK, self.a.pack(self.a.entries(WEEK, {"good.sql": b"1\n", "x/z": b"id\n1\n"}) +
                                     [(f"{top}/{name}.gpg", b"%d" % n) for n, name in enumerate(names)]))
        done = self.once(1)
        self.assert_staged(WEEK, {"good.sql": b"1\n", "x/z": b"id\n1\n"}, done)
        told = done.events("rejected")
        self.assertEqual(len([e for e in told if "CZARD_MEMBER" in e.fields]), 100)  # of one cause in an hour
        self.assertEqual([e.fields["CZARD_SUPPRESSED"] for e in told if "more rejected" in e.message], ["53"])
        audit = [json.loads(line) for line in (self.a.world.state / "audit.jsonl").read_text().splitlines()]
        self.assertEqual(sorted(x["member"] for x in audit if x["event"] == "member-rejected"),
                         sorted(f"{top}/{name}.gpg" for name in set(names)))

    def test_a_file_where_others_have_a_folder(self):
        message = self.message()
        for turn in (1, -1):
            with self.subTest(turn):
                self.setUp()
                good = {"ora/x.sql": b"1\n", "ora-b.sql": b"2\n"}
                entries = self.a.entries(WEEK, good) + [(f"{self.a.org}-{WEEK}/ora.gpg", message)]
                self.a.put(WEEK, self.a.pack(entries[::turn]))
                done = self.once(1)
                self.assert_staged(WEEK, good, done)
                self.assertEqual(list(self.a.rejected(WEEK)), [f"{self.a.org}-{WEEK}/ora.gpg"])

    def test_length_and_depth(self):
        top, message = f"{self.a.org}-{WEEK}", self.message()
        self.hostile([(f"{top}/{'L' * 252}.gpg", message), (f"{top}/{'d/' * 40}x.gpg", message),
                      (f"{top}/{'d/' * 1400}x.gpg", message), (f"{top}/{'d/' * 3000}x.gpg", message),
                      (f"{top}/{'L' * 60000}.gpg", message)], ["over-limit", "unsafe-name"])

    def test_a_directory_in_another_order(self):
        """Members lie where the directory says, in whatever order it does; but not in each other's bytes."""
        good = {f"{n}.sql": f"{n}\n".encode() * n for n in range(1, 40)}
        whole = self.a.pack(self.a.entries(WEEK, good))
        begin, = struct.unpack_from("<I", whole, len(whole) - 6)
        records = (b"PK\1\2" + r for r in whole[begin:-22].split(b"PK\1\2")[1:])
        records = sorted(records, key=lambda r: hashlib.sha256(r).digest())
        self.a.put(WEEK, whole[:begin] + b"".join(records) + whole[-22:])
        self.assert_staged(WEEK, good, self.once())
        records[0] = records[0][:42] + records[1][42:46] + records[0][46:]
        self.a.put(WEEK, whole[:begin] + b"".join(records) + whole[-22:])
        done = self.once(1)
        self.assertEqual((self.state()["state"], self.state()["cause"]), ("REJECTED", "bad-zip"), done)
        self.assertIn("members overlap", self.state()["detail"])

    def test_a_directory_that_was_damaged_on_its_way(self):
        """Of which nothing but the directory tells: it is read once more."""
        members = course(self.rng, A, TABLES[:3])
        whole = self.a.put_members(WEEK, members)
        begin, = struct.unpack_from("<I", whole, len(whole) - 6)
        # without an end record czard-index asks for a longer window anyway
        places = {"record": (begin, 1), "offset of a member": (begin + 44, 1), "count": (len(whole) - 12, 1),
                  "where it begins": (len(whole) - 4, 1), "end": (len(whole) - 22, 0), "comment": (len(whole) - 1, 0)}
        for what, (at, told) in places.items():
            with self.subTest(what):
                self.a.fresh()
                self.a.put(WEEK, whole)
                self.a.s3.behave("damaged", op="get", key="*.zip", corrupt_at=at, count=1)
                done = self.once()
                self.assert_staged(WEEK, members, done)
                self.assertEqual(len(self.a.gets(WEEK)), 3, self.a.gets())
                self.assertEqual(len([e for e in done.events("note") if "read once more" in e.message]), told, done)

    def test_a_damaged_directory_is_read_twice(self):
        at = self.a.put_members(WEEK, course(self.rng, A, TABLES[:3])).index(b"PK\1\2")
        self.a.s3.behave("damaged", op="get", key="*.zip", corrupt_at=at)
        done = self.once(1)
        self.assertEqual((self.state()["state"], self.state()["cause"]), ("REJECTED", "bad-zip"), done)
        self.assertEqual(len(self.a.gets(WEEK)), 2, self.a.gets())

    def test_max_name(self):
        self.hostile([(f"{self.a.org}-{WEEK}/{'n' * 60}.sql.gpg", self.message())], ["over-limit"], max_name=60)

    def test_max_plaintext(self):
        name = f"{self.a.org}-{WEEK}/large.sql.gpg"
        self.hostile([(name, self.message(bytes(3 << 20)))], ["over-limit"], max_plaintext="2M")

    def test_max_plaintext_is_of_the_plaintext(self):
        """A message is larger than what is in it; what no compressor shortens shows it."""
        members = {"full.sql": self.rng.randbytes(1 << 20)}
        self.a.put_members(WEEK, members)
        self.w.config["limits"] = {"max_plaintext": "1M"}
        self.assert_staged(WEEK, members, self.once())

    def test_no_members(self):
        """An export that is empty is no snapshot: it must not become `latest`, and somebody must look at it."""
        self.a.put_members(WEEKS[-2], course(self.rng, A, TABLES[:2]))
        for entries in ([], [member(f"{self.a.org}-{WEEK}/", 0o040755)]):
            with self.subTest(entries):
                self.a.put(WEEK, self.a.pack([(e, b"") for e in entries]))
                done = self.once(1)
                self.assertEqual((self.state()["state"], self.state()["cause"]), ("REJECTED", "bad-zip"), done)
                self.assertIsNone(self.a.staged(WEEK))
                self.assertEqual(self.a.latest(), WEEKS[-2])
                self.assertEqual([e.fields["CZARD_OBJECT"] for e in done.events("rejected")], [self.a.key(WEEK)])

    def test_a_folder_that_somebody_put_where_a_member_goes(self):
        """It is in the way for as long as it is there, and no fault of the member."""
        members = course(self.rng, A, TABLES[:3])
        self.a.put_members(WEEK, members)
        self.a.s3.behave("slow", op="get", key=self.a.key(WEEK), drip=1000)
        child = self.w.start("--once")
        try:
            planted = self.a.folder(WEEK).parent / f".{WEEK}.partial" / table_name(A, TABLES[1])
            self.assertTrue(wait_until(planted.parent.exists))
            planted.mkdir()
            (self.a.s3.behaviours / "slow").unlink()
            said = [child.stderr.readline().decode()]
            while said[-1] and "CZARD_EVENT=retry" not in said[-1]:
                said.append(child.stderr.readline().decode())
            planted.rmdir()
            said.append(child.communicate(timeout=60)[1].decode())
        finally:
            child.kill()
            child.wait()
        said = "".join(said)
        self.assertIn("CZARD_EVENT=retry", said)
        self.assertNotIn("CZARD_EVENT=rejected", said)
        self.assertEqual(child.returncode, 0, said)
        self.assert_staged(WEEK, members, said)

    def test_max_ratio(self):
        bomb = self.message(bytes(200 << 20), "--compress-algo", "bzip2")
        self.hostile([(f"{self.a.org}-{WEEK}/bomb.sql.gpg", bomb)], ["over-limit"], max_ratio=100)

    def test_a_bomb_of_the_zip(self):
        """Stored in OpenPGP, deflated by the zip."""
        entries = self.a.entries(WEEK, {"good.sql": b"1\n"}) + [(f"{self.a.org}-{WEEK}/zeros.sql", bytes(150 << 20))]
        self.a.put(WEEK, self.a.pack(entries, zipfile.ZIP_DEFLATED))
        self.w.config["limits"] = {"max_ratio": 50}
        done = self.once(1)
        self.assert_staged(WEEK, {"good.sql": b"1\n"}, done)
        self.assertEqual(list(self.a.rejected(WEEK).values()), ["over-limit"])

    def foreign(self):
        return self.a.keys.encrypt(b"not ours\n", ours=False)

    def test_a_foreign_key_comes_first(self):
        """Whether it is the key that is wrong or the member is judged when all came, in whatever order."""
        top = f"{self.a.org}-{WEEK}"
        good = {table_name(A, TABLES[0]): b"id\n1\n"}
        foreign, far = f"{top}/{table_name(A, TABLES[1])}.gpg", f"{top}/{table_name(A, TABLES[2])}.gpg"
        # what is left out between them keeps them in two runs; the second waits
        self.a.put(WEEK, self.a.pack([(foreign, self.foreign()), (far, os.urandom(300 << 10)), *self.a.entries(WEEK, good)]))
        self.w.package_section["tables"] = f"* !{TABLES[2]}"
        self.addCleanup(self.w.package_section.pop, "tables")
        self.a.s3.behave("late", op="get", key=self.a.key(WEEK), range="yes", after=2, count=1, delay=3000)
        done = self.once(1)
        self.assert_staged(WEEK, good, done)
        self.assertEqual(list(self.a.rejected(WEEK).values()), ["not-for-us"], done)

    def test_foreign_keys_alone(self):
        """Then it is our key: nothing is rejected."""
        top = f"{self.a.org}-{WEEK}"
        self.a.put(WEEK, self.a.pack([(f"{top}/{table_name(A, t)}.gpg", self.foreign()) for t in TABLES[:3]]))
        done = self.once(1)
        self.assertIsNone(self.a.staged(WEEK))
        self.assertEqual((self.state()["state"], self.state()["cause"]), ("RETRY", "no-secret-key"), done)

    def test_bytes_behind_the_end_record(self):
        """As unzip takes them, with a word."""
        good = {table_name(A, TABLES[0]): b"id\n1\n"}
        packed = self.a.pack(self.a.entries(WEEK, good))
        for behind in (b"\n", b"-----BEGIN PGP SIGNATURE-----\n\niHUE\n-----END PGP SIGNATURE-----\n", bytes(100)):
            with self.subTest(behind):
                self.setUp()
                self.a.put(WEEK, packed + behind)
                done = self.once()
                self.assert_staged(WEEK, good, done)
                said = [e.message for e in done.events("note") if "behind its end record" in e.message]
                self.assertEqual(len(said), 1, done)
                self.assertIn(f"{len(behind)} byte", said[0])

    def test_two_members_of_one_name(self):
        """Neither is taken, and every output counts the name once."""
        top = f"{self.a.org}-{WEEK}"
        name = f"{top}/{table_name(A, TABLES[1])}.gpg"
        good = {table_name(A, TABLES[0]): b"id\n1\n"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.a.put(WEEK, self.a.pack([*self.a.entries(WEEK, good), (name, self.message(b"1\n")), (name, self.message(b"2\n"))]))
        done = self.once(1)
        self.assert_staged(WEEK, good, done)
        rejected = (self.a.folder(WEEK) / "REJECTED").read_text().splitlines()
        self.assertEqual([line.split("\t") for line in rejected], [["unsafe-name", name]], done)
        self.assertEqual(len([e for e in done.events("rejected") if "CZARD_MEMBER" in e.fields]), 1, done)
        status = json.loads(subprocess.run([program("czarctl"), "--config", self.w.ini(), "status", "--json"], check=False,
                                           capture_output=True, env=self.w.environment()).stdout)
        told = [p for p in status["problems"] if p["what"] == "members-rejected"]
        self.assertEqual([p["count"] for p in told], [1], status)

    def test_checks_of_what_came_in_ranges(self):
        """Neither ETag nor checksum of the whole can be computed of ranges: that is said."""
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:2]))
        done = self.once()
        (said,) = [e.message for e in done.events("published") if e.fields["CZARD_OBJECT"] == self.a.key(WEEK)
                   and "CZARD_MEMBER" not in e.fields]
        self.assertRegex(said, r"\(checked: .*one-etag.* \(not: etag checksum")

    def test_max_members(self):
        self.a.put_members(WEEK, course(self.rng, A, TABLES[:6]))
        self.w.config["limits"] = {"max_members": 5}
        done = self.once(1)
        self.assertIsNone(self.a.staged(WEEK))
        self.assertEqual((self.state()["state"], self.state()["cause"]), ("REJECTED", "over-limit"), done)


@unittest.skipIf(os.geteuid() != 0, "needs a file system of its own: root")
@unittest.skipIf(is_sanitized(), "a preload cannot stand before the sanitizers' own")
class SpillTest(Case):
    """What czard keeps of an archive's members is in a temporary database, and the disk of its file fails."""

    def faulty(self, code, **fault):
        log = self.w.folder / "calls"
        environment = {**self.w.environment(), **disk_fault.environment(log, ROOTS=self.w.state, **fault)}
        with mock.patch.object(self.w, "environment", lambda: environment):
            done = self.once(code)
        return done, [key for key, _, path, *_ in disk_fault.notes(log) if path.endswith("(deleted)")]

    def test_no_room(self):
        """Each write to it fails: the archive waits, nothing else does, and what is noted is right."""
        top, good = f"{self.a.org}-{WEEK}", {"good.sql": b"1\n"}
        refused = [(f"{top}/.hidden{n:04}{('/' + 'x' * 250) * 15}", b"") for n in range(2000)]  # more than its cache
        _, at_start = self.faulty(0)  # it is tried at start
        archive = self.a.pack(self.a.entries(WEEK, good) + refused)
        self.a.put(WEEK, archive)
        done, calls = self.faulty(1)
        self.assert_staged(WEEK, good, done)
        reasons = {m["detail"] for m in self.w.members(self.a.key(WEEK)).values() if m["state"] == "REJECTED"}
        self.assertEqual(len(reasons), 1, reasons)
        before, tried = Counter(at_start), 0
        for key, count in Counter(calls).items():
            if count == before[key]:
                continue
            tried += 1
            with self.subTest(key):
                self.setUp()
                self.a.put(WEEK, archive)
                nth = before[key] + (count - before[key] + 1) // 2
                done, _ = self.faulty(1, SITE=key, NTH=nth, LAST=0, ERRNO=errno.ENOSPC)
                self.assertEqual(self.state()["state"], "RETRY", done)
                self.assertEqual(self.state()["cause"], "io-error", done)
                self.assertIn("state_dir", self.state()["detail"])
                self.assertEqual(done.events("paused"), [], done)
                noted = {m["detail"] for m in self.w.members(self.a.key(WEEK)).values() if m["state"] == "REJECTED"}
                self.assertLessEqual(noted, reasons | {""})
                done = self.once(1)
                self.assert_staged(WEEK, good, done)
                self.assertEqual(len(self.a.rejected(WEEK)), len(refused))
        self.assertGreater(tried, 0)


class SpaceTest(Case):
    """Staging on a small tmpfs."""

    def setUp(self):
        super().setUp()
        self.mount = self.w.folder / f"small{self.w.generation}"
        self.mount.mkdir()
        self.size("64M")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount], check=True)
        self.w.staging = self.mount / "staging"
        self.w.staging.mkdir()
        self.w.staging.chmod(0o750)
        self.w.config["staging"].update(path=self.w.staging, min_free="1M")

    def size(self, size):
        mounted = os.path.ismount(self.mount)
        options = f"{'remount,' if mounted else ''}size={size},mode=0755"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "czard-test", self.mount], capture_output=True, check=False)
        if done.returncode:
            self.skipTest(done.stderr.decode())

    def daemon(self):
        child = self.w.start()
        lines = []

        def read():
            for line in child.stderr:
                lines.append(Entry(line.decode().rstrip("\n")))

        reader = threading.Thread(target=read)
        reader.start()

        def stop():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            reader.join()
            child.stdout.close()
            child.stderr.close()
        self.addCleanup(stop)
        return child, lines

    def test_too_large_is_not_started(self):
        members = course(self.rng, A, TABLES[:4], 6 << 20)  # 12 MiB packed, of which czard expects four times as much
        self.a.put_members(WEEK, members)
        done = self.once(1, min_free="30M")
        self.assertIsNone(self.a.staged(WEEK))
        paused = done.events("paused")
        self.assertEqual([(e.level, e.fields["CZARD_CAUSE"], e.fields["CZARD_OBJECT"]) for e in paused],
                         [("err", "no-space", self.a.key(WEEK))], done)
        size = (self.a.bucket / self.a.key(WEEK)).stat().st_size
        self.assertLess(self.a.sent(WEEK), size / 20, "only its directory was fetched")
        # said in every run, and started when there is room
        self.a.s3.forget_requests()
        again = self.once(1)
        self.assertEqual(len(again.events("paused")), 1, again)
        self.assertEqual(self.a.gets(), [], "nothing has changed: it need not be asked for again")
        self.size("200M")
        self.once(0)
        self.assert_staged(WEEK, members)

    def test_a_daemon_says_it_once_and_starts_when_there_is_room(self):
        members = course(self.rng, A, TABLES[:4], 6 << 20)
        self.a.put_members(WEEK, members)
        self.w.config["staging"]["min_free"] = "30M"
        child, said = self.daemon()
        self.assertTrue(wait_until(lambda: any(e.event == "paused" for e in said)))
        for _ in range(3):
            child.send_signal(signal.SIGUSR1)
            time.sleep(0.7)
        self.assertEqual(len([e for e in said if e.event == "paused"]), 1, said)
        self.size("200M")
        child.send_signal(signal.SIGUSR1)
        self.assertTrue(wait_until(lambda: self.a.staged(WEEK)), said)
        self.assert_staged(WEEK, members)
        self.assertTrue(wait_until(lambda: any(e.event == "resumed" for e in said)), said)
        self.assertEqual(len([e for e in said if e.event == "resumed"]), 1, said)

    def test_full_in_the_middle(self):
        """Text of which much more comes out than czard can expect of a first archive."""
        members = {table_name(A, t): b"id\tvalue\n" * 900000 for t in TABLES[:12]}  # 12 times 7.7 MiB
        self.a.put_members(WEEK, members)
        child, said = self.daemon()
        self.assertTrue(wait_until(lambda: any(e.event == "paused" for e in said)), said)
        self.assertIsNone(self.a.staged(WEEK))
        self.assertEqual([e for e in said if e.event == "rejected"], [])
        self.assertIsNone(child.poll())
        self.size("400M")
        child.send_signal(signal.SIGUSR1)
        self.assertTrue(wait_until(lambda: self.a.staged(WEEK)), said)
        self.assert_staged(WEEK, members)
        self.assertTrue(wait_until(lambda: any(e.event == "resumed" for e in said)), said)

    def test_full_in_the_middle_of_one_run(self):
        members = {table_name(A, t): b"id\tvalue\n" * 900000 for t in TABLES[:12]}
        self.a.put_members(WEEK, members)
        done = self.once(1)
        self.assertIsNone(self.a.staged(WEEK))
        self.assertEqual([e.fields["CZARD_CAUSE"] for e in done.events("paused")], ["no-space"], done)
        self.assertEqual(done.events("rejected"), [])
        self.size("400M")
        self.once(0)
        self.assert_staged(WEEK, members)


if __name__ == "__main__":
    unittest.main()
