#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events by course, from the bucket to the folder: what is staged against the independent program, and what becomes of
a day that is replaced, pruned, forgotten, or split later."""

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import unittest

from czardtest import events, main, package, split
from czardtest.common import sha256_file
from czardtest.daemon import Daemon, status
from czardtest.run import check_sums, fingerprint, program
from czardtest.zips import Archives


# A czard-filter that stops itself before it begins.
HELD = """#!/bin/sh
[ "$1" = --version ] || kill -STOP $$
exec {real} "$@"
"""


class Staged(unittest.TestCase):
    def setUp(self):
        self.a = a = self.enterContext(Archives())
        a.fresh()
        self.w = a.world
        self.w.package_section.update(categories="events", sites="edx edge", events_by_course="edx")
        self.buckets = self.w.package / "buckets" / package.EVENTS_BUCKET / a.org

    def put(self, days):
        """{(site, date): text} into the bucket."""
        names = {f"{site} {date}": gzip.compress(text, 1) for (site, date), text in days.items()}
        for name, message in self.a.encrypt(names).items():
            site, date = name.split()
            folder = self.buckets / site / "events" / date[:4]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{self.a.org}-{site}-events-{date}.log.gz.gpg").write_bytes(message)

    def source(self, site, date, ending=".log.gz"):
        return self.w.staging / self.a.org / "events" / site / date[:4] / f"{self.a.org}-{site}-events-{date}{ending}"

    def folder(self, site, date):
        return self.w.staging / self.a.org / "events-by-course" / site / date[:4] / date

    def staged_path(self, day):
        return str(self.folder(*day).relative_to(self.w.staging))

    def sums(self, day):
        return sha256_file(self.folder(*day) / "SHA256SUMS")

    def feed(self):
        """Its lines that are of days by course."""
        lines = map(json.loads, (self.w.staging / self.a.org / "CHANGES.jsonl").read_text().splitlines())
        return [c for c in lines if "/events-by-course/" in c["path"]]

    def check(self, days, rule="edx", ending=".log.gz"):
        """Each folder is exactly what its day must become, shown as all that is staged."""
        for site, date in days:
            folder, source = self.folder(site, date), self.source(site, date, ending)
            files, others = split.compare(source, folder, rule)
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o750)
            for path in folder.iterdir():
                there = path.lstat()
                self.assertEqual((stat.S_IMODE(there.st_mode), int(there.st_mtime), there.st_gid),
                                 (0o440, int(source.stat().st_mtime), source.stat().st_gid), path)
            if files:
                self.assertEqual(check_sums(folder)[0], 0)
        root = self.w.staging / self.a.org / "events-by-course"
        there = {(p.parent.parent.name, p.name) for p in root.glob("*/*/*") if p.name != ".replaced"}
        self.assertEqual(there, set(days))

    def filter_instead(self, text):
        """A build whose czard-filter is that program. Its folder."""
        real, self.w.build = self.w.build, self.w.folder / "build"
        for name in ("czard", "czard-fetch", "czard-decrypt", "czard-index", "czard-filter"):
            folder = self.w.build / "daemon" / name
            folder.mkdir(parents=True)
            if name == "czard":
                shutil.copy(program(name, real), folder / name)  # it looks for the others beside itself
            elif name != "czard-filter":
                (folder / name).symlink_to(program(name, real))
        other = folder / "czard-filter"
        other.write_text(text)
        other.chmod(0o755)
        return folder

    def once(self, code=0):
        done = self.w.once()
        self.assertEqual(done.code, code, done)
        return done

    def gets(self):
        """How many objects were asked for since this was last called."""
        n = len([r for r in self.a.s3.requests() if r.op == "get"])
        self.a.s3.forget_requests()
        return n

    def czarctl(self, *args, code=0):
        done = subprocess.run([program("czarctl"), "--config", self.w.ini(), *args], capture_output=True, text=True,
                              env=self.w.environment(), check=False)
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        return done.stdout

    def report(self):
        self.czarctl("report", "--html", str(self.w.folder / "report.html"))
        return (self.w.folder / "report.html").read_text()

    def failed_days(self):
        """What `status`, `metrics` and the report say of days that could not be split."""
        status = subprocess.run([program("czarctl"), "--config", self.w.ini(), "--json", "status"], capture_output=True, text=True,
                                env=self.w.environment(), check=False)
        told = [p["count"] for p in json.loads(status.stdout)["problems"] if p["what"] == "by-course"]
        metrics = int(self.czarctl("metrics").split("\nczard_by_course_failed ")[1].split()[0])
        self.assertEqual(sum(told), metrics)
        self.assertEqual(bool(metrics), "could not be split by course" in self.report())
        return metrics

    def rows(self):
        return self.w.ledger("SELECT split.* FROM split ORDER BY path")

    def forget_rows(self):
        with contextlib.closing(sqlite3.connect(self.w.state / "ledger.db")) as db, db:
            db.execute("DELETE FROM split")

    def days(self, n, site="edx"):
        return {(site, f"2024-03-{i + 1:02d}"): events.realistic(80, 6, seed=i) for i in range(n)}


class Split(Staged):
    def test_a_first_sync(self):
        days = {**self.days(3), ("edge", "2024-03-02"): events.hostile(400, 5), ("edx", "2023-12-31"): b"",
                ("edx", "2024-03-04"): b"{}\nx\n"}
        self.put(days)
        done = self.once()
        self.check(days)
        self.assertEqual(len(done.events("day-complete")), len(days))
        lines, _ = self.w.audit()
        told = {line["path"]: line for line in lines if line["event"] == "day-complete"}
        self.assertEqual(set(told), {str(self.folder(*d).relative_to(self.w.staging)) for d in days})
        self.assertEqual(len([line for line in lines if line["event"] == "day-complete"]), len(days))
        for row in self.rows():
            manifest = (self.w.staging / row["path"] / "MANIFEST.jsonl").read_text().splitlines()
            last = json.loads(manifest[-1])
            self.assertEqual((row["courses"], row["lines_in"], row["no_course"], row["invalid"], row["unparsed"], row["rule"],
                              row["source_sha256"].hex()),
                             (len(manifest) - 1, last["lines_in"], last["no_course"], last["invalid"], last["unparsed"], "edx",
                              last["source_sha256"]))
        feed = self.feed()
        self.assertEqual({c["path"]: (c["op"], c["sha256"], c["was"], c["site"], c["date"]) for c in feed},
                         {self.staged_path(d): ("day-complete", self.sums(d), None, *d) for d in days})
        self.assertEqual(len(feed), len(days))
        before = fingerprint(self.w.staging)
        self.assertEqual(self.once().events("day-complete"), [])
        self.assertEqual(fingerprint(self.w.staging), before)

    def test_plain_files(self):
        days = self.days(2)
        self.w.config["staging"]["events_format"] = "plain"
        self.put(days)
        self.once()
        self.check(days, ending=".log")

    def test_set_later(self):
        """What is staged is split, newest first, without a GET; another rule splits again; none removes nothing."""
        days = self.days(4) | {("edx", "2013-05-01"): b'{"event_source":"browser","page":"/courses/M/6/1T/"}\n'}
        self.put(days)
        self.w.package_section.pop("events_by_course")
        self.once()
        self.assertEqual(self.gets(), len(days))
        self.assertFalse((self.w.staging / self.a.org / "events-by-course").exists())

        self.w.package_section["events_by_course"] = "edx"
        self.w.config["daemon"]["workers"] = 1
        done = self.once()
        self.assertEqual(self.gets(), 0)
        self.check(days)
        dates = [e.fields["CZARD_DATE"] for e in done.events("day-complete")]
        self.assertEqual(dates, sorted(dates, reverse=True))

        self.w.package_section["events_by_course"] = "edx+url"
        self.once()
        self.assertEqual(self.gets(), 0)
        self.check(days, "edx+url")

        self.w.package_section["events_by_course"] = "none"
        before = fingerprint(self.w.staging)
        self.once()
        self.assertEqual(fingerprint(self.w.staging), before)
        shown = self.czarctl("prune")
        for day in days:
            self.assertIn(str(self.folder(*day).relative_to(self.w.staging)), shown)
        self.assertEqual(fingerprint(self.w.staging), before)
        self.czarctl("prune", "--apply")
        self.assertEqual(self.rows(), [])
        self.assertFalse((self.w.staging / self.a.org / "events-by-course").exists())
        self.assertTrue(all(self.source(*day).exists() for day in days))

    def test_a_day_that_adopt_does_not_find(self):
        """The feed tells that it is missing, and that it is back when it was made again as it was."""
        days = self.days(2)
        self.put(days)
        self.once()
        feed = self.w.staging / self.a.org / "CHANGES.jsonl"
        before = len(feed.read_text().splitlines())
        lost = self.folder(*min(days))
        path = str(lost.relative_to(self.w.staging))
        shutil.rmtree(lost)
        told = lambda: [(c["op"], c["path"]) for c in map(json.loads, feed.read_text().splitlines()[before:])]
        for _ in range(2):
            self.czarctl("adopt")
            self.assertEqual(told(), [("missing", path)])
        self.once()
        self.check(days)
        self.assertEqual(told(), [("missing", path), ("restored", path)])

    def test_another_rule_while_it_is_split(self):
        """The one that was begun ends by the old rule, and is split again."""
        days = self.days(1)
        self.put(days)
        self.w.package_section.pop("events_by_course")
        self.once()
        self.w.package_section["events_by_course"] = "edx"
        self.w.ini()
        self.filter_instead(HELD.format(real=program("czard-filter", self.w.build)))
        held = lambda d: [pid for pid in d.helpers("czard-filter") if status(pid).get("State", "").startswith("T")]
        manifest = self.folder("edx", "2024-03-01") / "MANIFEST.jsonl"
        rule = lambda: manifest.exists() and '"rule":"edx+url"' in manifest.read_text()
        with Daemon(self.w) as d:
            first = d.wait("a filter", lambda: held(d))
            self.w.package_section["events_by_course"] = "edx+url"
            self.w.ini()
            d.reload()
            for pid in first:
                os.kill(pid, signal.SIGCONT)
            for pid in d.wait("the next one", lambda: set(held(d)) - set(first)):
                os.kill(pid, signal.SIGCONT)
            d.wait("the other rule", rule)
        self.check(days, "edx+url")

    def test_a_replaced_day(self):
        days = self.days(2)
        self.put(days)
        self.once()
        old = self.folder("edx", "2024-03-02").stat().st_ino
        was = self.sums(("edx", "2024-03-02"))
        days["edx", "2024-03-02"] = events.realistic(50, 3, seed=99)
        self.put({("edx", "2024-03-02"): days["edx", "2024-03-02"]})
        done = self.once()
        self.check(days)
        self.assertNotEqual(self.folder("edx", "2024-03-02").stat().st_ino, old)
        self.assertEqual(len(done.events("day-complete")), 1)
        last = self.feed()[-1]
        self.assertEqual((last["op"], last["path"], last["was"], last["sha256"]),
                         ("day-complete", self.staged_path(("edx", "2024-03-02")), was, self.sums(("edx", "2024-03-02"))))

    def test_pruned_and_forgotten_with_its_file(self):
        days = self.days(2) | {("edge", "2024-03-01"): events.realistic(20, 2, seed=9)}
        self.put(days)
        self.once()
        key = f"{self.a.org}/edge/events/2024/{self.a.org}-edge-events-2024-03-01.log.gz.gpg"
        self.czarctl("forget", key, "--reason", "asked for")
        self.assertFalse(self.folder("edge", "2024-03-01").exists())
        self.assertFalse(self.source("edge", "2024-03-01").exists())
        last = self.feed()[-1]
        self.assertEqual((last["op"], last["path"], last["reason"]),
                         ("removed", self.staged_path(("edge", "2024-03-01")), "asked for"))
        self.once()
        del days["edge", "2024-03-01"]
        self.check(days)

        self.w.config["staging"]["keep_days"] = "30"
        self.czarctl("prune", "--apply")
        for day in days:
            self.assertFalse(self.folder(*day).exists())
            self.assertFalse(self.source(*day).exists())
        self.assertEqual(self.rows(), [])

    def test_czarctl_knows_of_it(self):
        """verify reads the days' files, check says whether they can be made, metrics count them."""
        self.put(self.days(2))
        self.once()
        self.czarctl("verify")
        self.assertIn("czard_by_course_folders 2\n", self.czarctl("metrics"))
        self.assertIn('<th scope="row">universityx</th><td>events by course</td>', self.report())
        folder = self.folder("edx", "2024-03-01")
        file = next(folder.glob("*.log.gz"))
        file.chmod(0o640)
        file.write_bytes(file.read_bytes()[:-1])
        self.assertIn(str(file.relative_to(self.w.staging)), self.czarctl("verify", code=1))
        # that day is due again; of another one a file is gone
        folder = self.folder("edx", "2024-03-02")
        next(folder.glob("*.log.gz")).unlink()
        self.assertIn("missing", self.czarctl("verify", str(folder), code=1))

    def test_a_day_that_cannot_be_split_is_named(self):
        days = self.days(2)
        self.put(days)
        self.w.package_section.pop("events_by_course")
        self.once()
        source = self.source("edx", "2024-03-01")
        source.unlink()
        self.w.package_section["events_by_course"] = "edx"
        done = self.w.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual([e.fields["CZARD_DATE"] for e in done.events("day-failed")], ["2024-03-01"])
        status = self.czarctl("status", code=1)
        self.assertIn(str(source.relative_to(self.w.staging)), status)
        self.assertIn("czarctl resync with its key", status)
        self.assertIn("czard_by_course_failed 1\n", self.czarctl("metrics"))
        report = self.report()
        self.assertIn("1 day of events could not be split by course", report)
        self.assertIn(str(source.relative_to(self.w.staging)), report)
        self.check({("edx", "2024-03-02"): b""})

    def test_a_failed_day_is_none_once_it_is_not_wanted(self):
        """By `none`, and by a rule by which it is staged already."""
        days = self.days(1)
        self.put(days)
        self.once()
        source = self.source("edx", "2024-03-01")
        data, mtime = source.read_bytes(), source.stat().st_mtime
        source.chmod(0o640)
        source.write_bytes(data[:-1] + b"x")
        os.utime(source, (mtime, mtime))
        self.w.package_section["events_by_course"] = "edx+url"
        self.assertEqual(len(self.once(1).events("day-failed")), 1)
        self.assertEqual(self.failed_days(), 1)
        for rule in ("none", "edx"):
            self.w.package_section["events_by_course"] = rule
            self.once()
            self.assertEqual(self.failed_days(), 0, rule)

    def test_days_that_are_not_in_s3_any_more(self):
        """What is staged is split, whatever became of its object: gone, refused when it was replaced, filtered out."""
        days = self.days(4)
        self.put(days)
        self.w.package_section.pop("events_by_course")
        self.once()
        names = sorted(self.buckets.rglob("*.gpg"))
        names[0].unlink()
        names[1].write_bytes(b"no message")
        self.w.package_section["since"] = "2024-03-02"
        self.once(1)
        states = {row["date"]: row["state"] for row in json.loads(self.czarctl("--json", "list"))["objects"]}
        self.assertEqual(states, {"2024-03-01": "GONE", "2024-03-02": "REJECTED", "2024-03-03": "PUBLISHED",
                                  "2024-03-04": "PUBLISHED"})
        self.w.package_section.update(events_by_course="edx", since="2024-03-04")
        self.gets()
        self.once()
        self.assertEqual(self.gets(), 0)
        self.check(days)

    def test_something_else_stands_at_its_place(self):
        """A file, a link: that day is named and stands still, the others are split; it goes on once that is away."""
        days = self.days(5)
        self.put(days)
        self.w.package_section.pop("events_by_course")
        self.once()
        wrong = {"2024-03-05": lambda p: p.write_text("mine"), "2024-03-04": lambda p: p.symlink_to("/etc"),
                 "2024-03-02": lambda p: (p.mkdir(), os.chown(p, 12345, -1))}
        if os.getuid():
            del wrong["2024-03-02"]
        year = self.folder("edx", "2024-03-05").parent
        year.mkdir(parents=True, mode=0o750)
        for date, make in wrong.items():
            make(year / date)
        self.w.package_section["events_by_course"] = "edx"
        for _ in range(2):
            done = self.once(1)
            failed = done.events("day-failed")
            self.assertEqual({e.fields["CZARD_DATE"] for e in failed}, set(wrong))
            for e in failed:
                self.assertIn(self.staged_path(("edx", e.fields["CZARD_DATE"])), e.message)
                self.assertIn("move it away", e.message)
            self.assertEqual({p.name for p in year.iterdir()}, {date for _, date in days})
            self.assertEqual(self.failed_days(), len(wrong))
        self.assertEqual((year / "2024-03-05").read_text(), "mine")
        for date in wrong:
            path = year / date
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.once()
        self.check(days)
        self.assertEqual(self.failed_days(), 0)

    def test_no_day_is_split_while_files_come(self):
        """In a first sync the organisation's own files have all cores."""
        days = self.days(12)
        self.put(days)
        self.w.config["s3"]["max_transfers"] = 1
        self.a.s3.behave("far", op="get", delay=300)
        done = self.once()
        self.check(days)
        told = [e.event for e in done.entries if e.event in ("published", "day-complete")]
        self.assertEqual(told, ["published"] * len(days) + ["day-complete"] * len(days))

    def test_prune_names_a_folder_once(self):
        days = self.days(2)
        self.put(days)
        self.once()
        self.w.package_section["events_by_course"] = "none"
        self.w.config["staging"]["keep_days"] = "30"
        want = sorted([self.staged_path(day) for day in days] +
                      [str(self.source(*day).relative_to(self.w.staging)) for day in days])
        for args in ((), ("--apply",)):
            shown = json.loads(self.czarctl("--json", "prune", *args))
            self.assertEqual(sorted(p["path"] for p in shown["items"]), want, args)
        self.assertEqual([c["path"] for c in self.feed() if c["op"] == "removed"],
                         [self.staged_path(day) for day in sorted(days)])

    def test_what_a_crash_left(self):
        """A half-built folder goes, one that was published but not noted is made again, and nothing is fetched."""
        days = self.days(2)
        self.put(days)
        self.once()
        self.gets()
        folder = self.folder("edx", "2024-03-01")
        half = folder.parent / ".2024-03-01.partial"
        half.mkdir()
        (half / "~0").write_text("half")
        self.forget_rows()
        self.once()
        self.assertEqual(self.gets(), 0)
        self.check(days)
        self.assertEqual([p.name for p in folder.parent.iterdir() if p.name.startswith(".")], [])

    def test_an_altered_file_is_not_split(self):
        days = self.days(4)
        self.put(days)
        self.w.package_section["events_by_course"] = "edx+url"
        self.once()
        source = self.source("edx", "2024-03-04")
        data = gzip.compress(b"{}\n")
        source.chmod(0o640)
        mtime = source.stat().st_mtime
        source.write_bytes(data)
        os.utime(source, (mtime, mtime))
        self.w.package_section["events_by_course"] = "edx"
        done = self.w.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual([e.fields["CZARD_DATE"] for e in done.events("day-failed")], ["2024-03-04"])
        self.czarctl("resync", "*")  # as advised: what is fetched anew is split, and nothing before
        done = self.once()
        self.assertEqual(done.events("day-failed"), [])
        self.check(days)


def rewrite(path, change):
    """With the time that it had, as if nobody had been there."""
    before = path.stat()
    path.chmod(0o640)
    path.write_bytes(change(path.read_bytes()))
    path.chmod(0o440)
    os.utime(path, (before.st_mtime, before.st_mtime))


DAY = ("edx", "2024-03-02")
# What is done to the folder of DAY, and the path in it that is named.
DAMAGE = {
    "a file altered": lambda f, course: rewrite(course, lambda b: b[:-1] + bytes([b[-1] ^ 1])),
    "a file cut": lambda f, course: rewrite(course, lambda b: b[:-1]),
    "a file removed": lambda f, course: course.unlink(),
    "SHA256SUMS altered": lambda f, _: rewrite(f / "SHA256SUMS", lambda b: b.replace(b"0", b"1")),
    "SHA256SUMS removed": lambda f, _: (f / "SHA256SUMS").unlink(),
    "MANIFEST.jsonl altered": lambda f, _: rewrite(f / "MANIFEST.jsonl", lambda b: b.replace(b'"lines_in":8', b'"lines_in":9')),
    "MANIFEST.jsonl removed": lambda f, _: (f / "MANIFEST.jsonl").unlink(),
    "added.log.gz added": lambda f, _: (f / "added.log.gz").write_bytes(b""),
    ".hidden added": lambda f, _: (f / ".hidden").write_bytes(b""),
    "folder removed": lambda f, _: shutil.rmtree(f),
}


class Damaged(Staged):
    """A day by course that is not as it was staged is found, told, and made again without a GET."""

    def setUp(self):
        super().setUp()
        self.made = self.days(3)
        self.put(self.made)
        self.once()
        self.sums_of_day = self.sums(DAY)
        self.gets()

    def damage(self, what):
        folder = self.folder(*DAY)
        course = sorted(folder.glob("*.log.gz"))[1]
        DAMAGE[what](folder, course)
        name = what.split()[0]
        return str((course if name == "a" else folder if name == "folder" else folder / name).relative_to(self.w.staging))

    def assert_made_again(self, told_before):
        self.assertEqual(self.gets(), 0)
        self.check(self.made)
        self.czarctl("verify")
        told = [(c["op"], c["path"], c["was"], c["sha256"]) for c in self.feed()[told_before:]]
        self.assertEqual(told, [("missing", self.staged_path(DAY), self.sums_of_day, None),
                                ("restored", self.staged_path(DAY), self.sums_of_day, self.sums_of_day)])

    def assert_to_be_made_again(self, n):
        problems = json.loads(self.czarctl("--json", "status", code=min(n, 1)))["problems"]
        self.assertEqual([(p["what"], p["count"]) for p in problems], [("by-course-due", n)] if n else [])

    def test_verify(self):
        for what in DAMAGE:
            with self.subTest(what):
                told, path = len(self.feed()), self.damage(what)
                shown = json.loads(self.czarctl("--json", "verify", code=1))["problems"]
                self.assertTrue([p for p in shown if p["path"].startswith(path)], shown)
                self.assertEqual({p["path"] for p in shown if not p["path"].startswith(self.staged_path(DAY))}, set())
                self.assert_to_be_made_again(1)
                self.once()
                self.assert_to_be_made_again(0)
                self.assert_made_again(told)

    def test_verify_with_a_ledger_that_was_made_again(self):
        for name in self.w.state.glob("ledger.db*"):
            name.unlink()
        self.once()
        told, path = len(self.feed()), self.damage("MANIFEST.jsonl altered")
        self.assertIn(path, self.czarctl("verify", code=1))
        self.once()
        self.assert_made_again(told)

    def test_verify_beside_a_daemon(self):
        told = len(self.feed())
        with Daemon(self.w) as d:
            d.wait("the first poll", lambda: d.events("poll-done"))
            self.damage("MANIFEST.jsonl altered")
            self.czarctl("verify", code=1)
            d.wait("the day", lambda: d.events("day-complete"))
        self.assert_made_again(told)

    def test_a_lost_folder_is_found_by_a_listing(self):
        told = len(self.feed())
        self.damage("folder removed")
        done = self.once()
        self.assertEqual([e.fields["CZARD_PATH"] for e in done.events("missing")], [self.staged_path(DAY)])
        self.assert_made_again(told)

    def test_a_lost_folder_that_is_not_wanted(self):
        """It is told, and nobody says that it is made again."""
        self.w.package_section["events_by_course"] = "none"
        told = len(self.feed())
        self.damage("folder removed")
        done = self.once()
        said = done.events("missing")
        self.assertEqual([e.fields["CZARD_PATH"] for e in said], [self.staged_path(DAY)])
        self.assertIn("not made again, as events_by_course is none", said[0].message)
        self.assertEqual([(c["op"], c["path"]) for c in self.feed()[told:]], [("missing", self.staged_path(DAY))])
        self.assertEqual(self.once().events("missing"), [])
        shutil.rmtree(self.folder("edx", "2024-03-03"))
        self.assertIn("not made again, as events_by_course is none", self.czarctl("adopt"))
        self.w.package_section["events_by_course"] = "edx"
        self.once()
        self.assertEqual(self.gets(), 0)
        self.check(self.made)

    def test_a_file_that_somebody_added(self):
        """It makes the day due, and is not lost with the old folder. forget takes it away with all that is of that day."""
        (self.folder(*DAY) / "notes.txt").write_text("mine")
        self.assertIn("added", self.czarctl("verify", code=1))
        done = self.once()
        self.check(self.made)
        kept, = self.folder(*DAY).parent.glob(".replaced/*")
        self.assertEqual((kept / "notes.txt").read_text(), "mine")
        self.assertIn(str(kept.relative_to(self.w.staging)), "".join(e.message for e in done.events("note")))
        self.czarctl("forget", f"*{DAY[0]}-events-{DAY[1]}*", "--reason", "asked for")
        self.assertFalse(kept.exists())

    def test_resync_of_its_file(self):
        """The file is fetched, and split again, though it is the same."""
        inode = self.folder(*DAY).stat().st_ino
        self.damage("a file cut")
        self.czarctl("resync", f"{self.a.org}/edx/events/2024/{self.a.org}-edx-events-{DAY[1]}.log.gz.gpg")
        self.once()
        self.assertEqual(self.gets(), 1)
        self.check(self.made)
        self.assertNotEqual(self.folder(*DAY).stat().st_ino, inode)

    def test_what_is_not_wanted_stays_as_it_is(self):
        """events_by_course = none: verify names it, and nothing is done."""
        self.w.package_section["events_by_course"] = "none"
        self.damage("a file removed")
        for _ in range(2):
            self.assertIn("missing", self.czarctl("verify", code=1))
            self.once()
        self.assertEqual(len(self.rows()), 3)
        self.assertIn(self.staged_path(DAY), self.czarctl("prune"))

    def test_what_differs_in_the_manifest_alone_is_told(self):
        """A day that was replaced has its line, also where no course's file is another one."""
        self.put({DAY: self.made[DAY] + b"{}\n"})
        self.once()
        self.w.package_section["events_by_course"] = "edx+url"
        told = len(self.feed())
        self.once()
        self.check(self.made, "edx+url")
        self.assertEqual(self.sums(DAY), self.sums_of_day)
        lines = [c for c in self.feed() if c["path"] == self.staged_path(DAY)]
        self.assertEqual([(c["op"], c["was"], c["sha256"]) for c in lines],
                         [("day-complete", None, self.sums_of_day)] + 2 * [("day-complete", self.sums_of_day, self.sums_of_day)])
        self.assertEqual(len(self.feed()) - told, len(self.made))
        before = (self.w.staging / self.a.org / "CHANGES.jsonl").read_bytes()
        (self.w.staging / self.a.org / "CHANGES.jsonl").unlink()
        self.once()
        self.assertEqual((self.w.staging / self.a.org / "CHANGES.jsonl").read_bytes(), before)


class Room(Staged):
    """Staging on a small tmpfs."""

    def setUp(self):
        super().setUp()
        self.mount = self.w.folder / "small"
        self.mount.mkdir()
        self.size("64M")
        self.addCleanup(subprocess.run, ["umount", "-l", self.mount], check=True)
        self.w.staging = self.mount / "staging"
        self.w.staging.mkdir(0o750)

    def size(self, size):
        options = f"{'remount,' if os.path.ismount(self.mount) else ''}size={size},mode=0755"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "czard-test", self.mount], capture_output=True, check=False)
        if done.returncode:
            self.skipTest(done.stderr.decode())

    def test_a_day_for_which_there_is_no_room(self):
        """It is staged (54 MB are free then), and 45 MB are to stay free; the other day is split, and fetching goes on."""
        noise = random.Random(1).randbytes(8 << 20).hex()
        large = "".join(f'{{"context":{{"course_id":"A/b/c"}},"x":"{noise[i:i + 4096]}"}}\n' for i in range(0, len(noise), 4096))
        days = {("edx", "2024-03-01"): large.encode(), **self.days(1, "edge")}
        self.put(days)
        self.w.config["staging"].update(path=self.w.staging, min_free="45M")
        for _ in range(2):
            done = self.once(1)
            self.assertEqual([(e.fields["CZARD_DATE"], e.fields["CZARD_SITE"], e.fields["CZARD_CAUSE"])
                              for e in done.events("day-failed")], [("2024-03-01", "edx", "no-space")])
            self.assertEqual(done.events("paused"), [])
            self.check(self.days(1, "edge"))
        self.assertIn("above min_free", self.czarctl("status", code=1))
        self.size("200M")
        self.once()
        self.check(days)


    def watched(self, code):
        """A run, and the least that was free on the small volume meanwhile."""
        least, ended = [], threading.Event()

        def look():
            while not ended.wait(0.01):
                v = os.statvfs(self.mount)
                least.append((v.f_bavail * v.f_frsize, v.f_favail))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            return self.once(code), min(b for b, _ in least), min(f for _, f in least)
        finally:
            ended.set()
            thread.join()

    def test_many_small_files(self):
        """20,000 courses of a line each are 300 kB of a file and 80 MB of disk: the day is named, min_free stays free, and the
        other day and the fetching go on. With room enough it is split."""
        text = "".join(f'{{"context":{{"course_id":"course-v1:A+b+{i}"}}}}\n' for i in range(20000)).encode()
        days = {("edx", "2024-03-02"): text, **self.days(1, "edge")}
        self.put(days)
        self.w.config["staging"].update(path=self.w.staging, min_free="20M")
        for n in range(2):
            self.put({("edge", f"2024-04-0{n + 1}"): b"{}\n"})
            done, least, _ = self.watched(1)
            self.assertEqual([(e.fields["CZARD_DATE"], e.fields["CZARD_CAUSE"]) for e in done.events("day-failed")],
                             [("2024-03-02", "no-space")])
            self.assertGreaterEqual(least, 20 << 20)
            self.assertEqual(done.events("paused"), [])
            self.assertEqual(len(done.events("published")), 1 if n else 3)
            days["edge", f"2024-04-0{n + 1}"] = b"{}\n"
            self.check([day for day in days if day != ("edx", "2024-03-02")])
        self.assertEqual(self.failed_days(), 1)
        self.size("160M")
        self.w.config["staging"]["min_free"] = "1M"
        self.once()
        self.check(days)

    def test_few_inodes(self):
        text = "".join(f'{{"context":{{"course_id":"course-v1:A+b+{i}"}}}}\n' for i in range(3000)).encode()
        days = {("edx", "2024-03-02"): text, **self.days(1, "edge")}
        self.put(days)
        self.w.config["staging"].update(path=self.w.staging, min_free="1M")
        self.size("64M,nr_inodes=3000")
        done, _, least = self.watched(1)
        self.assertEqual([(e.fields["CZARD_DATE"], e.fields["CZARD_CAUSE"]) for e in done.events("day-failed")],
                         [("2024-03-02", "no-space")])
        self.assertIn("inodes", done.events("day-failed")[0].message)
        self.assertGreater(least, 500)
        self.size("64M,nr_inodes=9000")
        self.once()
        self.check(days)

    def test_side_by_side_they_do_not_fit(self):
        """Each has room enough alone, and then gets it in the same run."""
        text = "".join(f'{{"context":{{"course_id":"course-v1:A+b+{i}"}}}}\n' for i in range(7000)).encode()
        days = {("edx", f"2024-03-0{i}"): text for i in (1, 2)}
        self.put(days)
        self.w.config["staging"].update(path=self.w.staging, min_free="1M")
        self.w.config["daemon"]["workers"] = 2
        self.size("72M")
        self.once()
        self.check(days)


LIAR = '''#!/usr/bin/env python3
import array, os, socket, struct, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(0)
lie = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lie")).read()
s = socket.socket(fileno=3)
data, extra, _, _ = s.recvmsg(1 << 17, socket.CMSG_SPACE(64))
fds = array.array("i", extra[0][2])
version, _, number = struct.unpack_from("<HHI", data)
import hashlib
with os.fdopen(os.dup(fds[0]), "rb") as f:
    f.seek(0)
    source = hashlib.sha256(f.read()).digest()
def make(name, text):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fds[1])
    os.write(fd, text)
    os.close(fd)
def say(kind, body, number=number):
    s.send(struct.pack("<HHI", version, kind, number) + body)
def text(t):
    return struct.pack("<I", len(t)) + t + b"\\0"
make("SHA256SUMS", b"12345")
name, size, lines = b"SHA256SUMS", 5, (3, 1, 1, 1, 0)
if lie == "symlink":
    os.unlink("SHA256SUMS", dir_fd=fds[1])
    os.symlink("/etc/passwd", "SHA256SUMS", dir_fd=fds[1])
if lie == "one more":
    make("more", b"")
if lie == "size":
    size = 4
if lie == "lines":
    lines = (3, 1, 1, 2, 0)
if lie == "source":
    source = bytes(32)
if lie == "name":
    name = b"../SHA256SUMS"
if lie == "id":
    number += 1
say(17, struct.pack("<I", 1) + text(name) + struct.pack("<Q", size), number)
if lie == "cause":
    say(18, struct.pack("<I", 7) + text(b"no") + struct.pack("<9Q", *lines, 0, 0, 1, 5) + source + bytes(32), number)
elif lie == "kind":
    say(6, b"", number)
elif lie != "silence":
    say(18, struct.pack("<I", 0) + text(b"") + struct.pack("<9Q", *lines, 0, 0, 1, 5) + source + bytes(32), number)
'''


class Lies(Staged):
    """A czard-filter that is in other hands: nothing of what it made is published, and the day is named."""

    def test_lies(self):
        self.put({("edx", "2024-03-01"): b"{}\nx\n{}\n"})
        folder = self.filter_instead(LIAR)
        for lie in ("truth", "symlink", "one more", "size", "lines", "source", "name", "id", "cause", "kind", "silence"):
            with self.subTest(lie):
                (folder / "lie").write_text(lie)
                done = self.w.once()
                there = self.folder("edx", "2024-03-01").exists()
                self.assertEqual((done.code, there), (0, True) if lie == "truth" else (1, False), done)
                self.assertEqual(len(done.events("day-failed")), 0 if lie == "truth" else 1, done)
                self.w.package_section["events_by_course"] = "none"
                if lie == "truth":
                    self.czarctl("prune", "--apply")
                self.forget_rows()
                self.w.package_section["events_by_course"] = "edx"


if __name__ == "__main__":
    main()
