#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The feed: whoever reads it, and nothing else, knows the tree; over late, replaced, missing, restored, forgotten and pruned
files, a lost ledger and a lost feed; and the same after all of these, with the same numbers."""

import contextlib
import grp
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest
from pathlib import Path

from czardtest import main
from czardtest.daemon import Daemon, until
from czardtest.run import program
from czardtest.served import Served


SEED = int(os.environ.get("CZARD_SEED", 17))  # another life each
STEPS = int(os.environ.get("CZARD_STEPS", 14))


class Consumer:
    """Keeps what the lines say, as a loader would: path -> sha256."""

    def __init__(self):
        self.last, self.tree, self.snapshots, self.missing, self.days = 0, {}, {}, set(), {}

    def take(self, line):
        c = json.loads(line)
        assert c["seq"] == self.last + 1, (c["seq"], self.last)
        self.last = c["seq"]
        if c["category"] in ("database", "email-opt-in"):
            self.take_of_snapshot(c)
        elif "/events-by-course/" in c["path"]:
            self.take_of_day(c)
        elif c["op"] in ("published", "replaced", "restored"):
            assert (c["op"] == "published") == (c["path"] not in self.tree), c
            if c["op"] == "replaced":
                assert c["was"] == self.tree[c["path"]][0], c
            self.tree[c["path"]] = c["sha256"], True
        elif c["op"] == "missing":
            self.tree[c["path"]] = c["was"], False
        else:
            assert c["op"] == "removed", c
            del self.tree[c["path"]]

    def take_of_day(self, c):
        was, there = self.days.get(c["path"], (None, False))
        assert c["was"] == was, (c, was)
        if c["op"] == "removed":
            del self.days[c["path"]]
        elif c["op"] == "missing":
            assert there, c
            self.days[c["path"]] = was, False
        else:
            assert c["op"] in ("day-complete", "restored") and (c["op"] == "restored") == (not there and c["sha256"] == was), (c, was, there)
            self.days[c["path"]] = c["sha256"], True

    def take_of_snapshot(self, c):
        folder = "/".join(c["path"].split("/")[:3])
        if c["op"] == "snapshot-complete":
            base = self.snapshots.get(f"{folder.rpartition('/')[0]}/{c['base']}", {}) if c["base"] else {}
            members = dict(base)
            for path, sha256 in self.pending:
                if sha256:
                    members[path] = sha256
                else:
                    del members[path]
            self.snapshots[folder] = members
            self.pending = []
            self.missing.discard(folder)
        elif c["path"] == folder:
            assert c["op"] == "removed" or (c["op"] == "missing") == (folder not in self.missing), c
            (self.missing.add if c["op"] == "missing" else self.missing.discard)(folder)
            if c["op"] == "removed":
                del self.snapshots[folder]
        else:
            self.pending.append((c["path"][len(folder) + 1:], c["sha256"] if c["op"] != "removed" else None))
    pending = []


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Feed(Served):
    package = {"days": 5, "weeks": 3, "courses": 2, "sites": "edx"}

    def setUp(self):
        super().setUp()
        self.file = self.w.staging / self.w.org / "CHANGES.jsonl"

    def catch_up(self, consumer, most=None):
        """As one that was killed behind some line: it goes on after the last one that it has dealt with."""
        lines = self.ctl("changes", "--json", "--since", str(consumer.last), self.w.org).splitlines()
        for line in lines[:most]:
            consumer.take(line)

    def refused(self, *args):
        """What it says of a feed that it cannot go on with."""
        done = subprocess.run([program("czarctl"), "--config", str(self.w.ini()), "changes", "--json", *args], env=self.w.environment(),
                              capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""), done)
        return done.stderr

    def members(self, folder):
        return {str(f.relative_to(folder)): sha256(f) for f in folder.rglob("*")
                if f.is_file() and f.name not in ("SHA256SUMS", "REJECTED", "MANIFEST.jsonl")}

    def check(self, consumer):
        self.catch_up(consumer)
        self.assertEqual(consumer.pending, [])
        want, have = {}, {}
        for o in self.w.objects().values():
            if not o["staged_etag"]:
                continue
            path = self.w.staging / o["path"]
            if not o["is_zip"]:
                want[o["path"]] = (sha256(path) if path.exists() else o["sha256"].hex(), o["state"] != "MISSING")
            elif path.exists():
                have[o["path"]] = self.members(path)
        self.assertEqual(consumer.tree, want)
        self.assertEqual(consumer.snapshots, have)


class FeedTest(Feed):
    def test_a_life(self):
        w, c = self.w, Consumer()
        events = [o for o in w.facts["objects"] if o["category"] == "events"]
        bucket = w.package / "buckets" / events[0]["bucket"]
        late = bucket / events[1]["key"]
        aside = w.folder / "aside"
        shutil.move(late, aside)
        self.once()
        self.check(c)
        self.assertGreater(c.last, 10)
        shutil.move(aside, late)  # it comes late
        shutil.copy(bucket / events[2]["key"], bucket / events[0]["key"])  # and one is written anew
        self.once()
        self.check(c)
        gone = w.staging / events[0]["path"]
        shutil.move(gone, aside)
        w.once()
        self.check(c)
        shutil.copy2(aside, gone)
        gone.chmod(0o440)
        self.ctl("adopt")
        self.check(c)
        self.ctl("forget", f"*{events[2]['key'].rpartition('/')[2]}", "--reason", "request 17")
        w.config["staging"]["keep_snapshots"] = "1"
        self.ctl("prune", "--apply")
        self.once()
        self.check(c)
        whole = self.file.read_bytes()
        for f in w.state.glob("ledger.db*"):
            f.unlink()
        self.once()
        self.assertEqual(self.file.read_bytes(), whole)
        self.file.unlink()
        self.once()
        self.assertEqual(self.file.read_bytes(), whole)
        self.check(c)
        self.file.write_bytes(whole[:len(whole) // 3])
        self.once()
        self.assertEqual(self.file.read_bytes(), whole)

    def test_altered_under_the_same_time(self):
        """What only its hash gives away is found by verify, and told: by czard when it runs, else by czarctl."""
        self.once()
        w, c = self.w, Consumer()
        self.check(c)
        latest = (w.staging / w.org / "database/latest").resolve()
        members = [f for f in sorted(latest.glob("*.sql")) if f.stat().st_nlink == 1 and f.stat().st_size]
        events = sorted((w.staging / w.org / "events").rglob("*.gz"))

        def alter(path):
            st, content = path.stat(), bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.chmod(0o640)
            path.write_bytes(content)
            path.chmod(0o440)
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))

        def told():
            return [(line["op"], line["path"]) for line in map(json.loads, self.file.read_text().splitlines()[c.last:])]
        alter(events[0])
        self.ctl("verify", code=1)
        self.ctl("verify", code=1)
        want = [("missing", str(events[0].relative_to(w.staging)))]
        self.assertEqual(told(), want)
        with Daemon(w) as d:
            d.synced()
            alter(members[0])
            alter(events[1])
            self.ctl("verify", code=1)
            want += [("missing", str(events[1].relative_to(w.staging))), ("missing", str(members[0].parent.relative_to(w.staging)))]
            self.assertEqual(sorted(told()), sorted(want))
            self.assertEqual(d.stop()[0], 0)
        self.ctl("resync", "*")
        self.once()
        self.assertEqual([op for op, _ in told()[3:]].count("restored"), 3)
        self.check(c)

    def test_missing_and_then_gone_from_s3(self):
        """What is staged stays, so it can be missing too; and be back, whatever became of the object."""
        w, c = self.w, Consumer()
        self.once()
        self.check(c)
        objects = [o for o in w.facts["objects"] if o["category"] in ("events", "database")]
        day, other = [o for o in objects if o["category"] == "events"][:2]
        snapshot = next(o for o in objects if o["category"] == "database")
        state = lambda o: w.objects()[o["key"]]["state"]
        staged = {o["key"]: w.staging / w.objects()[o["key"]]["path"] for o in (day, other, snapshot)}
        taken = lambda o: w.folder / f"taken-{staged[o['key']].name}"
        for o in (day, snapshot):
            shutil.move(staged[o["key"]], taken(o))
        w.once()
        self.assertEqual([state(o) for o in (day, snapshot)], ["MISSING"] * 2)
        for o in (day, other, snapshot):
            (w.package / "buckets" / o["bucket"] / o["key"]).unlink()
        for o in (day, snapshot):
            self.ctl("resync", f"s3://{o['bucket']}/{o['key']}")
        w.once()
        self.assertEqual([state(o) for o in (day, other, snapshot)], ["MISSING", "GONE", "MISSING"])
        self.ctl("adopt")
        self.catch_up(c)
        for o in (day, snapshot):
            shutil.move(taken(o), staged[o["key"]])
        self.ctl("adopt")
        n = c.last
        self.check(c)
        self.assertEqual(c.last, n + 2)
        self.assertEqual(c.missing, set())
        before = len(w.audit()[0])
        self.ctl("adopt")
        self.assertEqual([e["event"] for e in w.audit()[0][before:]], ["adopt"])
        # and one that is gone from S3 is found missing as any other is: by czard, by verify
        for find, then in ((w.once, None), (lambda: self.ctl("verify", code=1), None), (w.once, "GONE")):
            w.once()
            self.assertEqual(state(other), "GONE")
            shutil.move(staged[other["key"]], taken(other))
            find()
            self.assertEqual(state(other), "MISSING")
            self.check(c)
            if then:  # as a 404 leaves it after resync, until czard looks at what is staged again
                with contextlib.closing(sqlite3.connect(w.state / "ledger.db")) as db, db:
                    db.execute("UPDATE object SET state = 7 WHERE key = ?", (other["key"],))
                self.assertEqual(state(other), then)
            shutil.move(taken(other), staged[other["key"]])
            self.ctl("adopt")
            self.check(c)

    def test_missing_while_the_version_after_is_refused(self):
        """What is staged stays when the object becomes one that is refused; so it can be missing, and be back. The object
        stays refused, and its next good version comes."""
        w, c = self.w, Consumer()
        self.once()
        objects = [o for o in w.facts["objects"] if o["category"] in ("events", "database")]
        day, other = [o for o in objects if o["category"] == "events"][:2]
        snapshot = next(o for o in objects if o["category"] == "database")
        kept = (day, other, snapshot)
        row = lambda o: w.objects()[o["key"]]
        staged = {o["key"]: w.staging / row(o)["path"] for o in kept}
        path = lambda o: str(staged[o["key"]].relative_to(w.staging))
        object_of = lambda o: w.package / "buckets" / o["bucket"] / o["key"]
        good = {o["key"]: object_of(o).read_bytes() for o in kept}
        for o in kept:
            object_of(o).write_bytes(b"none of ours")
        w.once()
        self.check(c)
        self.ctl("verify")

        def told():
            from_here = c.last
            self.catch_up(c)
            return sorted((line["op"], line["path"]) for line in map(json.loads, self.file.read_text().splitlines()[from_here:]))

        def missing():
            status = json.loads(self.ctl("status", "--json", code=1))
            return sum(p["count"] for p in status["problems"] if p["what"] == "missing")
        self.assertEqual(missing(), 0)
        for o in (day, snapshot):
            shutil.move(staged[o["key"]], w.folder / f"taken-{staged[o['key']].name}")
        w.once()
        want = sorted(("missing", path(o)) for o in (day, snapshot))
        self.assertEqual(told(), want)
        w.once()
        self.ctl("verify", code=1)
        self.assertEqual(told(), [])
        self.assertEqual(missing(), 2)
        content = bytearray(staged[other["key"]].read_bytes())  # by its hash only
        content[len(content) // 2] ^= 1
        st = staged[other["key"]].stat()
        staged[other["key"]].chmod(0o640)
        staged[other["key"]].write_bytes(content)
        os.utime(staged[other["key"]], ns=(st.st_atime_ns, st.st_mtime_ns))
        self.ctl("verify", code=1)
        self.assertEqual(told(), [("missing", path(other))])
        self.assertEqual([row(o)["state"] for o in kept], ["REJECTED"] * 3)
        for f in w.state.glob("ledger.db*"):  # the record knows as much
            f.unlink()
        w.once()
        self.assertEqual((told(), missing()), ([], 3))
        self.assertEqual([row(o)["state"] for o in kept], ["REJECTED"] * 3)
        # what the ledger knows of members may be of the refused version: the folder's own lists tell
        with contextlib.closing(sqlite3.connect(w.state / "ledger.db")) as db, db:
            db.execute("UPDATE member SET sha256 = zeroblob(32) WHERE object_id = (SELECT id FROM object WHERE key = ?)",
                       (snapshot["key"],))
        for o in (day, snapshot):
            shutil.move(w.folder / f"taken-{staged[o['key']].name}", staged[o["key"]])
        member = next(p for p in sorted(staged[snapshot["key"]].rglob("*.sql")) if p.stat().st_size)
        whole = member.rename(w.folder / "whole-member")  # other snapshots share its storage
        member.write_bytes(whole.read_bytes()[:-1] + b"!")
        self.ctl("adopt")
        self.assertEqual(told(), [("restored", path(day))], "a member of the snapshot is not what it was")
        shutil.move(whole, member)
        self.ctl("adopt")
        self.assertEqual(told(), [("restored", path(snapshot))])
        self.assertEqual([row(o)["state"] for o in kept], ["REJECTED"] * 3)
        self.assertEqual(missing(), 1)
        shutil.rmtree(staged[snapshot["key"]])
        w.once()
        self.assertEqual(told(), [("missing", path(snapshot))])
        for o in kept:
            object_of(o).write_bytes(good[o["key"]])
        object_of(day).write_bytes(good[other["key"]])
        self.once()
        self.assertEqual([row(o)["state"] for o in kept], ["PUBLISHED"] * 3)
        self.check(c)
        self.ctl("verify")
        whole = self.file.read_bytes()
        self.file.unlink()
        self.once()
        self.assertEqual(self.file.read_bytes(), whole)

    def test_what_nobody_staged_at_the_place_of_a_snapshot(self):
        """Another snapshot that was moved there is kept, and told, when the right one comes."""
        w = self.w
        dates = sorted(o["date"] for o in w.facts["objects"] if o["category"] == "database")
        w.package_section["since"] = dates[1]
        self.once()
        database = w.staging / w.org / "database"
        self.assertFalse((database / dates[0]).exists())
        shutil.copytree(database / dates[-1], database / dates[0])
        sums = (database / dates[0] / "SHA256SUMS").read_bytes()
        del w.package_section["since"]
        done = w.once()
        self.assertEqual(done.code, 0, done)
        kept, = (database / ".replaced").glob(f"{dates[0]}-*")
        self.assertEqual((kept / "SHA256SUMS").read_bytes(), sums)
        self.assertNotEqual((database / dates[0] / "SHA256SUMS").read_bytes(), sums)
        self.assertIn(str(kept.relative_to(w.staging)), "".join(e.message for e in done.events("note")))

    def test_since_and_follow(self):
        w = self.w
        self.ctl("changes", w.org, code=3)
        self.ctl("changes", "--since", "x", w.org, code=2)
        self.ctl("changes", "nobodyx", code=2)
        events = [o for o in w.facts["objects"] if o["category"] == "events"]
        late = w.package / "buckets" / events[0]["bucket"] / events[0]["key"]
        aside = w.folder / "aside"
        shutil.move(late, aside)
        self.once()
        lines = self.file.read_text().splitlines()
        self.assertEqual(self.ctl("changes", "--json", w.org).splitlines(), lines)
        self.assertEqual(self.ctl("changes", "--json").splitlines(), lines)
        for since in (0, 1, len(lines) - 1, len(lines)):
            self.assertEqual(self.ctl("changes", "--json", "--since", str(since), w.org).splitlines(), lines[since:])
        time_of_2 = json.loads(lines[1])["time"]
        self.assertEqual(self.ctl("changes", "--json", "--since", f"2@{time_of_2}", w.org).splitlines(), lines[2:])
        self.ctl("changes", "--json", "--since", "2@yesterday", w.org, code=2)
        for more in ((), ("--follow",)):
            said = self.refused("--since", str(len(lines) + 5), *more, w.org)
            self.assertIn(f"it ends with line {len(lines)}, before line {len(lines) + 5}", said)
            said = self.refused("--since", "2@2001-01-01T00:00:00Z", *more, w.org)
            self.assertIn("begun anew", said)
        self.assertEqual(len(self.ctl("changes", w.org).splitlines()), len(lines))
        child = subprocess.Popen([program("czarctl"), "--config", str(w.ini()), "changes", "--json", "--follow", "--since",
                                  str(len(lines))], env=w.environment(), stdout=subprocess.PIPE, text=True)
        try:
            time.sleep(0.3)
            shutil.move(aside, late)
            self.once()
            self.assertEqual(json.loads(child.stdout.readline())["path"], events[0]["path"])
            # made again: who follows goes on where it was
            self.file.unlink()
            shutil.copy(late.parent / events[1]["key"].rpartition("/")[2], late)
            self.once()
            said = json.loads(child.stdout.readline())
            self.assertEqual((said["seq"], said["op"]), (len(lines) + 2, "replaced"))
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait()
            child.stdout.close()

    def test_lost_under_a_daemon_without_events(self):
        """Its next poll notices; who follows goes on."""
        self.once()
        whole = self.file.read_bytes()
        self.w.config["daemon"]["poll_interval"] = "1h"
        with Daemon(self.w) as d:
            d.synced()
            for lose in (self.file.unlink, lambda: self.file.write_bytes(whole[:len(whole) // 2])):
                lose()
                d.poll()
                until("it is made again", lambda: self.file.exists() and self.file.read_bytes() == whole)
                self.assertEqual(self.file.read_bytes(), whole)
            self.assertEqual(d.stop()[0], 0)

    def test_one_that_cannot_be_made_again(self):
        """It is no good news, as long as it lasts."""
        self.once()
        whole = self.file.read_bytes()

        def told():
            status = json.loads(self.ctl("status", "--json", code=1))  # files are late
            return [p["what"] for p in status["problems"] if p["what"] != "late"]
        self.assertEqual(told(), [])
        self.file.unlink()
        in_its_way = self.file.with_name(".CHANGES.jsonl.new")
        in_its_way.mkdir()
        for _ in range(2):
            self.assertEqual(self.w.once().code, 1)
            self.assertEqual(told(), ["feed"])
        self.assertIn("\nczard_feed_broken 1\n", self.ctl("metrics"))
        in_its_way.rmdir()
        self.once()
        self.assertEqual((self.file.read_bytes(), told()), (whole, []))
        self.assertIn("\nczard_feed_broken 0\n", self.ctl("metrics"))

    @unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_a_reader_of_one_category_follows_over_a_loss(self):
        """The folder he may only pass: nothing of it can be watched while the feed is not there."""
        w = self.w
        w.config["staging"] |= {"group": "daemon", "events_group": "games"}
        w.config["daemon"]["poll_interval"] = "1h"
        w.folder.chmod(0o711)
        w.staging.chmod(0o710)
        shutil.chown(w.staging, group="games")
        self.once()
        w.ini("reader.ini").chmod(0o644)
        lines, aside = self.file.read_text().splitlines(), self.file.with_name("aside")
        self.assertNotEqual(self.file.parent.stat().st_gid, grp.getgrnam("games").gr_gid)
        child = subprocess.Popen([program("czarctl"), "--config", str(w.folder / "reader.ini"), "changes", "--json", "--follow", w.org],
                                 cwd="/", env=w.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user="nobody",
                                 group="nogroup", extra_groups=["games"])
        try:
            self.assertEqual([child.stdout.readline().rstrip("\n") for _ in lines], lines, child.poll() and child.stderr.read())
            self.file.rename(aside)
            with self.assertRaises(subprocess.TimeoutExpired):  # it waits, and longer than between two looks
                child.wait(3)
            events = [o for o in w.facts["objects"] if o["category"] == "events"]
            bucket = w.package / "buckets" / events[0]["bucket"]
            shutil.copy(bucket / events[1]["key"], bucket / events[0]["key"])
            self.once()
            self.assertEqual(json.loads(child.stdout.readline())["seq"], len(lines) + 1)
        finally:
            child.terminate()
            child.communicate()

    def test_by_halves(self):
        """Many lines: --since finds its place without reading all."""
        self.once()
        line = json.loads(self.file.read_text().splitlines()[0])
        with self.file.open("w") as f:
            for seq in range(1, 20001):
                f.write(json.dumps({**line, "seq": seq, "path": "x" * (seq % 300)}, separators=(",", ":")) + "\n")
        for since in (0, 1, 9999, 13333, 19998, 19999, 20000):
            said = self.ctl("changes", "--json", "--since", str(since), self.w.org).splitlines()
            self.assertEqual([json.loads(s)["seq"] for s in said], list(range(since + 1, 20001)))

    def test_of_several_organisations(self):
        """One without a feed does not keep the others from being shown; of a broken configuration nobody knows which is meant."""
        self.once()
        lines = self.file.read_text().splitlines()
        ini = self.w.ini().read_text()
        more = self.w.ini("more.ini")
        more.write_text(ini + "\n[package otherx]\ncategories = rdx\nrdx = s3://other/otherx/\n")

        def changes(*args, file=more):
            return subprocess.run([program("czarctl"), "--config", str(file), "changes", "--json", *args],
                                  env=self.w.environment(), capture_output=True, text=True, timeout=60, check=False)
        said = changes()
        self.assertEqual((said.returncode, said.stdout.splitlines()), (0, lines), said)
        self.assertIn("otherx/CHANGES.jsonl", said.stderr)
        self.assertEqual(changes("otherx").returncode, 3)
        self.file.rename(self.file.with_name("aside"))
        self.assertEqual(changes().returncode, 3)
        self.file.with_name("aside").rename(self.file)
        broken = self.w.ini("broken.ini")
        broken.write_text(ini + "\n[nonsense]\n")
        for args in ((), ("--follow",), ("--follow", "nobodyx"), ("nobodyx",)):
            said = changes(*args, file=broken)
            self.assertEqual((said.returncode, said.stdout), (3, ""), said)
            self.assertIn("nonsense", said.stderr)
        said = changes(self.w.org, file=broken)
        self.assertEqual((said.returncode, said.stdout.splitlines()), (0, lines), said)

    @unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_for_the_readers(self):
        self.w.config["staging"]["group"] = "daemon"
        self.once()
        self.assertEqual(self.file.stat().st_mode & 0o7777, 0o640)
        self.assertEqual(self.file.group(), "daemon")

    @unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_a_reader_follows_over_restarts(self):
        """From before anything is staged; of the group, and with no right on the state folder."""
        w = self.w
        events = sorted((w.package / "buckets" / o["bucket"] / o["key"] for o in w.facts["objects"] if o["category"] == "events"))
        aside = [w.folder / f"aside{i}" for i in range(2)]
        for path, there in zip(events, aside):
            shutil.move(path, there)
        w.config["staging"]["group"] = "daemon"
        w.config["daemon"]["poll_interval"] = "1h"
        w.folder.chmod(0o711)
        w.state.chmod(0o700)
        shutil.chown(w.staging, group="daemon")
        ini = w.ini("reader.ini")
        ini.chmod(0o644)
        reader = {"user": "nobody", "group": "nogroup", "extra_groups": ["daemon"]}
        for folder, allowed in ((w.state, False), (w.staging, True)):
            done = subprocess.run(["ls", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **reader)
            self.assertEqual(done.returncode == 0, allowed)
        child = subprocess.Popen([program("czarctl"), "--config", str(ini), "changes", "--json", "--follow", w.org], cwd="/",
                                 env=w.environment(), stdout=subprocess.PIPE, text=True, **reader)
        try:
            for path, there in ((None, None), *zip(events, aside)):
                if path:
                    shutil.move(there, path)
                with Daemon(w) as d:
                    if path:
                        self.assertTrue(json.loads(child.stdout.readline())["path"].endswith(path.name.removesuffix(".gpg")))
                    else:
                        d.synced()
                        n = len(self.file.read_text().splitlines())
                        self.assertEqual([json.loads(child.stdout.readline())["seq"] for _ in range(n)], list(range(1, n + 1)))
                    self.assertEqual(d.stop()[0], 0)
                self.assertIsNone(child.poll())
            waits_in = lambda: Path(f"/proc/{child.pid}/wchan").read_text()
            until("it is done with the last line", lambda: "poll" in waits_in())
        finally:
            child.terminate()
            child.wait()
            child.stdout.close()


class AnyLifeTest(Feed):
    """Steps in any order, with kills of czard and of whoever follows between any two lines; in the end he has the tree of the
    disk. What somebody takes away comes back by then, for nobody but czard's look tells of it."""

    def setUp(self):
        super().setUp()
        self.random, self.consumer, self.copy = random.Random(SEED), Consumer(), None
        self.objects = [o for o in self.w.facts["objects"] if o["category"] in ("events", "database")]
        self.bucket = self.w.package / "buckets"
        self.w.config["package " + self.w.org]["events_by_course"] = "edx"
        self.aside = self.w.folder / "aside"
        self.aside.mkdir()
        self.taken, self.lost = {}, None

    def any(self, category):
        o = self.random.choice([o for o in self.objects if o["category"] == category])
        return self.bucket / o["bucket"] / o["key"], o

    def offline(self, *args):
        """Whatever it says: there may be nothing to forget, or nothing to pin."""
        self.ctl(*args, code=None)

    def late(self):
        path, _ = self.any(self.random.choice(("events", "database")))
        other = self.aside / path.name
        if path.exists():
            shutil.move(path, other)
        elif other.exists():
            shutil.move(other, path)

    def written_anew(self):
        path, o = self.any("events")
        source, _ = self.any("events")
        if path != source and path.exists() and source.exists():
            shutil.copy(source, path)

    def taken_away(self):
        _, o = self.any(self.random.choice(("events", "database")))
        path = self.w.staging / str(o.get("path") or next(iter(o["members"].values()))["path"].rpartition("/")[0])
        if path.exists() and path not in self.taken:
            self.taken[path] = self.aside / f"taken{len(self.taken)}-{self.random.random()}"
            shutil.move(path, self.taken[path])

    def day_spoiled(self):
        """A folder by course is gone, or a file in it is: verify or the next whole listing tells, and it is made again."""
        days = sorted((self.w.staging / self.w.org / "events-by-course").glob("*/*/2*"))
        if not days:
            return
        day = self.random.choice(days)
        if self.random.random() < 0.5:
            shutil.rmtree(day)
        else:
            self.random.choice(sorted(day.iterdir())).unlink()
        if self.random.random() < 0.5:
            self.offline("verify")

    def put_back(self):
        for path, there in self.taken.items():
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(there, path)
        self.taken = {}
        self.offline("adopt")

    def forgotten(self):
        path, _ = self.any(self.random.choice(("events", "database")))
        if not self.taken:  # it would be put back under czard's feet
            self.offline("forget", f"*{path.name}", "--reason", "request 17")

    def fetched_again(self):
        if not self.taken:  # else what S3 has not any more by then is GONE, and adopt does not look at that
            self.offline("resync", "*")

    def pruned(self):
        if not self.taken:
            self.w.config["staging"]["keep_snapshots"] = self.random.choice(("1", "2", "all"))
            self.offline("prune", "--apply")

    def pinned(self):
        folders = sorted((self.w.staging / self.w.org / "database").glob("2*"))
        date = self.random.choice([f.name for f in folders] + ["auto"])
        self.offline("latest", self.w.org, date)

    def lost_ledger(self):
        for f in self.w.state.glob("ledger.db*"):
            f.unlink()

    def lost_feed(self):
        if self.file.exists() and self.lost != "record":
            self.lost = "feed"
            if self.random.random() < 0.5:
                self.file.unlink()
            else:
                self.file.write_bytes(self.file.read_bytes()[:self.random.randrange(self.file.stat().st_size)])

    def copied(self):
        self.copy = {f.name: f.read_bytes() for f in self.w.state.glob("*") if f.name.startswith(("audit.jsonl", "ledger.db"))}

    def put_back_a_copy(self):
        """Of the record alone, with its ledger, or without any."""
        if not self.copy or self.lost == "feed":
            return  # with both gone nobody knows what was told
        self.lost = "record"
        which = self.random.choice(("record", "both", "no ledger"))
        if which != "record":
            self.lost_ledger()
        for name, content in self.copy.items():
            if name == "audit.jsonl" or which == "both":
                (self.w.state / name).write_bytes(content)
                (self.w.state / name).chmod(0o640)

    def killed(self):
        child = self.w.start("--once")
        try:
            child.communicate(timeout=self.random.uniform(0, 2))
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()

    def test_any_life(self):
        steps = (self.late, self.late, self.written_anew, self.taken_away, self.day_spoiled, self.put_back, self.forgotten, self.fetched_again,
                 self.pruned, self.pinned, self.lost_ledger, self.lost_feed, self.copied, self.put_back_a_copy, self.killed)
        said = [f"CZARD_SEED={SEED}"]
        try:
            self.once()
            for _ in range(STEPS):
                for step in self.random.choices(steps, k=self.random.randint(1, 3)):
                    said.append(step.__name__)
                    step()
                said.append("once")
                self.w.once()
                self.lost = None
                self.catch_up(self.consumer, self.random.randint(0, 40))
            self.put_back()
            for _ in range(2):
                self.w.once()
            self.put_back()
            self.offline("verify")
            self.w.once()
            self.catch_up(self.consumer)
            self.check_disk()
            self.ctl("verify", str(self.file))
        except BaseException:
            print(" ".join(said), flush=True)
            raise

    def check_disk(self):
        c, top = self.consumer, self.w.staging / self.w.org
        self.assertEqual(c.pending, [])
        files = {str(f.relative_to(self.w.staging)): sha256(f) for kind in ("events", "rdx") for f in (top / kind).rglob("*")
                 if f.is_file() and not any(part.startswith(".") for part in f.parts)}
        self.assertEqual({path: h for path, (h, there) in c.tree.items() if there}, files)
        days = {str(f.parent.relative_to(self.w.staging)): sha256(f) for f in (top / "events-by-course").glob("*/*/2*/SHA256SUMS")}
        self.assertEqual({path: h for path, (h, there) in c.days.items() if there}, days)
        folders = {str(f.relative_to(self.w.staging)): self.members(f) for kind in ("database", "email-opt-in")
                   for f in (top / kind).glob("2*") if f.is_dir()}
        self.assertEqual({path: m for path, m in c.snapshots.items() if path not in c.missing}, folders)
        # and whoever begins now has the same
        other = Consumer()
        self.catch_up(other)
        self.assertEqual((other.last, other.tree, other.snapshots, other.days), (c.last, c.tree, c.snapshots, c.days))


if __name__ == "__main__":
    main()
