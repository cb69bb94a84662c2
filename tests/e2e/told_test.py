#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is wrong is told by every command that an admin may look at: rejected members, a `latest` that does not move, a run
that ended in a pause, a daemon that was stopped."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import unittest

from czarctl_test import Base
from czardtest import main
from czardtest.daemon import Daemon, until


class RejectedMembersTest(Base):
    package_options = {"days": 3, "weeks": 1, "courses": 1, "poison": True}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.first = cls.world.once(timeout=120)
        cls.rejected = [m["name"] for o in cls.world.facts["objects"] if "state" not in o for m in o.get("rejected", ())]
        assert cls.rejected, cls.world.facts

    def test_once(self):
        self.assertEqual(self.first.code, 1, self.first)

    def test_status(self):
        answer = self.ctl("status", "--json", code=1)
        told = [p for p in answer.json["problems"] if p["what"] == "members-rejected"]
        self.assertEqual(sum(p["count"] for p in told), len(self.rejected), answer)
        self.assertTrue(all(p["fix"] for p in told), told)
        self.assertNotIn("All is well", self.ctl("status", code=1).out)

    def test_status_table(self):
        """Members too, where no object is rejected."""
        out = self.ctl("status", code=1).out
        row, = [l for l in out.splitlines() if re.match(rf"{self.world.org} +database ", l)]
        self.assertRegex(row, rf" \d+, {len(self.rejected)} members? ")
        packages = self.ctl("status", "--json", code=1).json["packages"]
        self.assertEqual(sum(p["members_rejected"] for p in packages), len(self.rejected))

    def test_list(self):
        objects = self.ctl("list", "--state", "REJECTED", "--json").json["objects"]
        members = [m for o in objects for m in o.get("members", ())]
        self.assertEqual(len(members), len(self.rejected), members)
        self.assertEqual({m["state"] for m in members}, {"REJECTED"})
        table = self.ctl("list", "--state", "REJECTED").out
        self.assertGreaterEqual(table.count("REJECTED"), len(members), table)

    def test_metrics(self):
        lines = [l for l in self.ctl("metrics").out.splitlines() if l.startswith("czard_members_rejected{")]
        self.assertEqual(sum(int(l.split()[-1]) for l in lines), len(self.rejected), lines)

    def test_gaps(self):
        gaps = self.ctl("gaps", "--fail", "--json", code=1).json["gaps"]
        told = [g for g in gaps if (g["hint"] or "").startswith("members rejected")]
        self.assertEqual(sum(g["missing"] for g in told), len(self.rejected), gaps)

    def test_check(self):
        checks = self.ctl("check", "--json", code=None).json["checks"]
        self.assertEqual([c["ok"] for c in checks if c["name"] == "members"], [False], checks)

    def test_report(self):
        page = self.world.folder / "report.html"
        self.ctl("report", "--html", page)
        told = f"{len(self.rejected)} members of staged snapshots were refused"
        self.assertTrue(told in page.read_text(), told)

    def test_resync_wait(self):
        with Daemon(self.world) as d:
            d.synced()
            answer = self.ctl("resync", "--wait", code=1)
            self.assertNotIn("everything that is there is staged", answer.out + answer.err)
            self.assertIn(f"{len(self.rejected)} rejected members", answer.out + answer.err)


class NotRunningTest(Base):
    package_options = {"days": 3, "weeks": 1, "courses": 1}

    def setUp(self):
        self.world.fresh()

    def problems(self):
        return {p["what"]: p["text"] for p in self.ctl("status", "--json", code=None).json["problems"]}

    def test_once_that_ended_in_a_pause(self):
        """The reason is told until a run ends without it."""
        self.world.config["staging"]["min_free"] = "1000000G"
        try:
            self.assertEqual(self.world.once().code, 1)
        finally:
            self.world.config["staging"]["min_free"] = "0"
        self.assertIn("space: ", self.problems()["paused"])
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("paused", self.problems())

    def held_up(self):
        """A run of --once in the middle of its work, which does not end by itself."""
        self.s3.behave("held", op="get", key="*events*", stall_at=1)
        self.addCleanup(lambda: (self.s3.behaviours / "held").unlink(missing_ok=True))
        child = self.world.start("--once")
        key = next(o["key"] for o in self.world.facts["objects"] if o["category"] == "events")

        def under_way():
            self.assertIsNone(child.poll())
            with contextlib.suppress(sqlite3.OperationalError):  # there is no ledger yet
                return self.world.objects().get(key, {}).get("state") in ("FETCHING", "DECRYPTING")
        until("it is at work", under_way)
        return child

    def test_once_that_was_stopped(self):
        child = self.held_up()
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, 1)
        self.assertIn("it was stopped", self.problems()["ended"])
        (self.s3.behaviours / "held").unlink()
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("ended", self.problems())

    def test_once_that_was_killed(self):
        child = self.held_up()
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)
        self.assertRegex(self.problems()["due"], "^[0-9]+ files? .*czard does not run")
        (self.s3.behaviours / "held").unlink()
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("due", self.problems())

    def test_once_without_a_key(self):
        """All that there was is staged, and nothing new will ever be."""
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("ended", self.problems())
        home, empty = self.world.config["openpgp"]["homedir"], self.world.folder / "empty-home"
        empty.mkdir(mode=0o700, exist_ok=True)
        self.world.config["openpgp"]["homedir"] = empty
        try:
            self.assertEqual(self.world.once().code, 3)
        finally:
            self.world.config["openpgp"]["homedir"] = home
        self.assertIn("no secret key", self.problems()["ended"])
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("ended", self.problems())

    def test_daemon_that_was_stopped(self):
        with Daemon(self.world) as d:
            d.synced()
            self.assertNotIn("stopped", self.problems())
            self.assertEqual(d.stop()[0], 0)
        self.assertIn("was stopped", self.problems()["stopped"])
        self.assertEqual(self.ctl("status", code=1).out.count("All is well"), 0)
        self.assertEqual(self.world.once().code, 0)
        self.assertNotIn("stopped", self.problems())

    def test_daemon_that_was_killed(self):
        with Daemon(self.world) as d:
            d.synced()
            d.child.kill()
            d.child.wait()
        self.assertIn("ended without a word", self.problems()["stopped"])


class FrozenLatestTest(Base):
    package_options = {"days": 2, "weeks": 4, "courses": 1}

    def test_latest_that_stays(self):
        """A pin that was forgotten; a rejected member of each week holds it in the same way."""
        self.world.fresh()
        self.assertEqual(self.world.once().code, 0)
        org = self.world.org
        dates = sorted(o["date"] for o in self.world.facts["objects"] if o["category"] == "database" and "state" not in o)
        self.assertEqual(self.ctl("status", "--json", code=None).json["problems"][:0], [])
        told = lambda: [p["text"] for p in self.ctl("status", "--json", code=None).json["problems"] if p["what"] == "latest"]
        self.assertEqual(told(), [])
        self.ctl("latest", org, dates[-2])
        self.assertEqual(told(), [])
        self.ctl("latest", org, dates[0])
        self.assertEqual(len(told()), 1)
        self.assertIn(dates[0], told()[0])
        self.assertIn(dates[-1], told()[0])
        with Daemon(self.world) as d:
            d.synced()
            warned = [e.message for e in d.events("note") if e.message.startswith("latest of")]
        self.assertEqual(len(warned), 1, warned)
        self.assertIn(dates[0], warned[0])


class DiskTest(Base):
    package_options = {"days": 3, "weeks": 1, "courses": 1}

    def setUp(self):
        self.world.fresh()

    @contextlib.contextmanager
    def disk(self, folder, options):
        folder.mkdir(mode=0o750, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=750,{options}", "none", folder], capture_output=True,
                          check=False).returncode:
            self.skipTest("nothing can be mounted here")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", folder], check=True)

    def bad(self, name):
        return [c for c in self.ctl("check", "--json", code=1).json["checks"] if c["name"] == name and not c["ok"]]

    def test_no_inodes(self):
        """There is room, and no file can be made: min_free is not the matter."""
        self.world.config["staging"]["min_free"] = "1"
        with self.disk(self.world.staging, "size=64M,nr_inodes=9"):
            run = self.world.once()
            self.assertEqual(run.code, 1, run)
            self.assertIn("no inodes are left", run.events("paused")[0].message)
            self.assertNotIn("lower", run.events("paused")[0].message)
            for n in range(9):
                with contextlib.suppress(OSError):
                    (self.world.staging / f"filler-{n}").touch()
            [found] = self.bad("space")
            self.assertIn("no inodes", found["detail"])
            self.assertNotIn("min_free", found["fix"])

    def test_staging_is_read_only(self):
        self.world.config["staging"]["min_free"] = "1"
        with self.disk(self.world.staging, "size=64M"):
            self.assertEqual(self.world.once().code, 0)
            subprocess.run(["mount", "-o", "remount,ro", self.world.staging], check=True)
            [found] = self.bad("space")
            self.assertIn("read-only", found["detail"])
            self.assertIn("remount", found["fix"])

    def test_no_inodes_for_state_dir(self):
        """While it works: told as what it is, and not as the staging volume."""
        with self.disk(self.world.state, "size=200M,nr_inodes=40"):
            with Daemon(self.world) as d:
                d.synced()
                mark = d.mark()
                for n in range(40):
                    with contextlib.suppress(OSError):
                        (self.world.state / f"filler-{n}").touch()
                d.poll()
                said = d.until("paused", mark)
                self.assertIn("state", said.message)
                self.assertIn("inodes", said.message)
                self.assertNotIn("[staging]", said.message)
                for n in range(40):
                    (self.world.state / f"filler-{n}").unlink(missing_ok=True)
                d.poll()
                d.until("resumed", mark)

    def test_state_dir_fills_up(self):
        """While it works, with and without min_free: journal, status and check say which volume, and with room it goes on."""
        key = next(o["key"] for o in self.world.facts["objects"] if o["category"] == "events" and "state" not in o)
        for least in ("4M", "1"):
            with self.subTest(min_free=least), self.disk(self.world.state, "size=24M"):
                self.world.config["daemon"]["min_free"] = least
                with Daemon(self.world) as d:
                    d.synced()
                    mark = d.mark()
                    with (self.world.state / "filler").open("wb", buffering=0) as f, contextlib.suppress(OSError):
                        while True:
                            f.write(bytes(1 << 16))
                    d.poll()
                    said = d.until("paused", mark)
                    self.assertIn("make room in state_dir", said.message)
                    self.assertNotIn("staging", said.message)
                    answer = self.ctl("status", "--json", code=1).json
                    told = [p for p in answer["problems"] if p["what"] == "paused"]
                    self.assertEqual(len(told), 1, answer)
                    self.assertIn(str(self.world.state), told[0]["text"])
                    self.assertNotIn("All is well", self.ctl("status", code=1).out)
                    self.assertIn(str(self.world.state), self.bad("state room")[0]["detail"])
                    self.ctl("forget", f"*{key}", "--reason", "full", code=3)
                    (self.world.state / "filler").unlink()
                    d.poll()
                    d.until("resumed", mark)
                    self.ctl("forget", f"*{key}", "--reason", "room")
                self.assertEqual([p for p in self.ctl("status", "--json", code=None).json["problems"] if p["what"] == "paused"], [])
                self.assertEqual([e["reason"] for e in self.world.audit()[0] if e["event"] == "forgotten"][-1], "room")
            self.world.fresh()

    def test_state_dir_is_full(self):
        with self.disk(self.world.state, "size=8M"):
            self.world.config["daemon"]["min_free"] = "1M"
            self.assertEqual(self.world.once().code, 0)
            del self.world.config["daemon"]["min_free"]
            [found] = self.bad("state room")
            self.assertIn("free for", found["detail"])
            self.assertIn("state_dir", found["fix"])

    def test_state_dir_is_read_only(self):
        with self.disk(self.world.state, "size=80M"):
            self.assertEqual(self.world.once().code, 0)
            subprocess.run(["mount", "-o", "remount,ro", self.world.state], check=True)
            run = self.world.once()
            self.assertEqual(run.code, 3, run)
            said = run.events("failed")[0].message
            self.assertIn("Read-only file system", said)
            self.assertNotIn("correct the configuration", said)
            self.assertIn("read-only", self.bad("state room")[0]["detail"])


if __name__ == "__main__":
    main()
