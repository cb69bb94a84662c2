#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czarctl: what it says and does, with czard stopped, beside a running one, and at the very start."""

import contextlib
import datetime
import hashlib
import html.parser
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from czardtest import schema
from czardtest.common import PATIENCE
from czardtest.run import REPOSITORY, World, is_sanitized, program, verify_audit
from czardtest.s3d import S3d


ALERTS = REPOSITORY / "systemd/examples/czard-alerts.yml"


class Answer:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"


class Page(html.parser.HTMLParser):
    """What a page is made of."""
    VOID = {"meta", "link", "br", "img"}

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.ids, self.links = [], [], [], []
        self.headings, self.unnamed, self.landmarks = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("header", "nav", "main", "footer"):
            self.landmarks.append(tag)
        if (tag == "th" and "scope" not in attrs or tag == "html" and not attrs.get("lang")
                or tag in ("nav", "section") and not attrs.get("aria-label")
                or tag == "svg" and attrs.get("aria-hidden") != "true" and not (attrs.get("role") == "img" and attrs["aria-label"])
                or self.open[-1:] == ["table"] and tag == "thead" and not self.captioned):
            self.unnamed.append((tag, attrs))
        self.captioned = tag == "caption" or tag != "table" and getattr(self, "captioned", False)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        target = attrs.get("href") or attrs.get("src") or ""
        if target.startswith("#"):
            self.links.append(target[1:])
        if tag in ("script", "iframe") or any(a.startswith("on") for a in attrs) or not (target == "" or target[0] == "#"
                                                                                          or target == "data:,"):
            self.outside.append((tag, attrs))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def czarctl(world, *args, config=None, binary=None, below=(), **kwargs):
    command = [*below, binary or program("czarctl", world.build), "--config", config or world.ini(), *args]
    kwargs.setdefault("env", world.environment())
    return Answer(subprocess.run([str(a) for a in command], capture_output=True, text=True, check=False, timeout=120,
                                 stdin=subprocess.DEVNULL, start_new_session=True, **kwargs))


class Base(unittest.TestCase):
    package_options = {}

    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        cls.world = w = cls.enterClassContext(World(with_tls=False, **cls.package_options))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts))
        w.use(cls.s3.endpoint, tls_endpoint=False)
        w.config["daemon"]["log_level"] = "info"

    def ctl(self, *args, code=0, **kwargs):
        answer = czarctl(self.world, *args, **kwargs)
        if code is not None:
            self.assertEqual(answer.code, code, answer)
        return answer

    def up_to_date(self):
        """The package is of 2024, and by today everything is late: its dates are moved until nothing is."""
        db = sqlite3.connect(self.world.state / "ledger.db")
        db.execute("CREATE TEMP TABLE shift AS SELECT CAST(julianday('now') AS INT) - CAST(julianday(max(date)) AS INT) AS days "
                   "FROM object WHERE state = 3")
        db.execute("UPDATE object SET date = date(date, (SELECT days FROM shift) || ' days'), "
                   "last_modified = last_modified + 86400 * (SELECT days FROM shift) WHERE date != ''")
        db.commit()
        db.close()

    def ask(self, shape, *args, **kwargs):
        """An answer in JSON, of that shape."""
        answer = self.ctl(*args, "--json", **kwargs)
        self.assertEqual(schema.check(answer.json, shape), [], answer)
        return answer.json


class StoppedTest(Base):
    """After one pass, nothing running."""

    def setUp(self):
        self.world.fresh()
        first = self.world.once()
        self.assertEqual(first.code, 0, first)

    def test_options(self):
        binary, ini = program("czarctl", self.world.build), self.world.ini()
        for args in (["--json", "--config", ini, "list"], ["list", "--json", "--config", ini],
                     ["list", f"--config={ini}", "--json"], ["--config", ini, "list", "--json"]):
            done = subprocess.run([binary, *args], capture_output=True, text=True, env=self.world.environment(), check=False)
            self.assertEqual((done.returncode, schema.check(json.loads(done.stdout), "list")), (0, []), args)
        for args, said in (([], "usage"), (["statsu"], "did you mean 'status'"), (["list", "--sine", "2024-01-01"], "usage"),
                           (["list", "--since", "yesterday"], "YYYY-MM-DD"), (["backup"], "missing"),
                           (["status", "now"], "unexpected"), (["list", "--state", "LOST"], "PUBLISHED"),
                           (["forget", "*"], "--reason"), (["verify", "--head", "0" * 64], "--audit")):
            answer = self.ctl(*args, code=2)
            self.assertIn(said, answer.err + answer.out, args)
        for command in ("status", "import-credentials", "resync"):
            self.assertIn(f"usage: czarctl {command}", self.ctl(command, "--help").out)
            self.assertEqual(self.ctl("help", command).out, self.ctl(command, "--help").out)
        self.assertEqual(self.ctl("help").out, self.ctl("--help").out)
        self.assertIn("did you mean 'status'", self.ctl("help", "statsu", code=2).err)
        # what is needed stands without brackets
        self.assertIn("forget --reason TEXT s3://", self.ctl("help", "forget").out)
        self.assertIn("report --html FILE", self.ctl("help", "report").out)
        self.assertIn("cannot", self.ctl("status", code=3, config="/nonexistent/czard.ini").err)

    def test_status(self):
        said = self.ask("status", "status", code=1)
        self.assertEqual({p["what"] for p in said["problems"]}, {"late"}, "the package ends in 2024")
        self.up_to_date()
        said = self.ask("status", "status")
        self.assertTrue(said["ok"])
        self.assertFalse(said["daemon"]["running"])
        staged = {(p["category"], p["site"]): p["objects"]["PUBLISHED"] for p in said["packages"]}
        wanted = {}
        for o in self.world.objects().values():
            category = ["events", "database", "email-opt-in", "rdx"][o["category"]]
            key = category, o["site"] or None
            wanted[key] = wanted.get(key, 0) + (o["state"] == "PUBLISHED")
        self.assertEqual(staged, wanted)
        self.assertEqual(len(said["key"]), 1)
        text = self.ctl("status").out
        self.assertIn("All is well.", text)
        self.assertNotIn("\033", text, "colour is for terminals")
        db = sqlite3.connect(self.world.state / "ledger.db")
        db.execute("UPDATE object SET state = 5, cause = 'bad-integrity', detail = 'damaged' WHERE id = 1")
        db.commit()
        db.close()
        said = self.ask("status", "status", code=1)
        self.assertEqual([(p["what"], p["count"]) for p in said["problems"]], [("rejected", 1)])
        self.assertIn("ask edX to export it again", self.ctl("status", code=1).out)

    def test_status_of_what_is_late(self):
        gaps = {(g["category"], g["site"]): g["missing"] for g in self.ask("gaps", "gaps")["gaps"] if g["open"]}
        late = {(p["text"].split(":")[0], p["count"]) for p in self.ask("status", "status", code=1)["problems"]}
        self.assertEqual(late, {(f"universityx {c} {s or ''}".strip(), n) for (c, s), n in gaps.items()})
        self.assertRegex(self.ctl("status", code=1).out, r"files are late since 2024-07-09\n +-> ")
        metrics = self.ctl("metrics").out
        for (category, site), missing in gaps.items():
            self.assertIn(f'czard_late_files{{org="universityx",category="{category}",site="{site or ""}"}} {missing}', metrics)
        # what is no longer wanted is not late
        self.world.config["package universityx"].update(sites="edge", categories="events")
        left = self.ask("status", "status", code=None)["problems"]
        self.assertEqual([p["text"] for p in left if "edge" not in p["text"]], [])
        self.up_to_date()
        self.world.config["package universityx"].update(sites="edx edge", categories="events database email-opt-in rdx")
        self.assertRegex(self.ctl("metrics").out, r'(?m)^czard_late_files\{[^}]*category="database"[^}]*\} 0$')

    def test_broken_configuration(self):
        """An admin must be able to look while czard.ini has an error."""
        ini = self.world.ini("broken.ini")
        ini.write_text(ini.read_text() + "\n[s3]\nendpiont = x\n")
        answer = self.ctl("status", config=ini)
        self.assertIn("endpiont", answer.err)
        self.assertIn("universityx", answer.out)
        self.assertIn("endpiont", self.ctl("plan", config=ini, code=3).err)
        checks = self.ask("check", "check", config=ini, code=1)["checks"]
        self.assertEqual([c["name"] for c in checks if not c["ok"]][0], "config")

    def test_list(self):
        known = self.world.objects()
        objects = self.ask("list", "list")["objects"]
        self.assertEqual({o["key"] for o in objects}, set(known))
        for o in objects:
            row = known[o["key"]]
            self.assertEqual((o["state"], o["size"], o["etag"]), (row["state"], row["size"], row["etag"]))
            if o["sha256"]:
                staged = (self.world.staging / o["path"]).read_bytes()
                self.assertEqual(o["sha256"], hashlib.sha256(staged).hexdigest())
        def keys(*args):
            return {o["key"] for o in self.ask("list", "list", *args)["objects"]}
        self.assertEqual(keys("--category", "events", "--site", "edx"),
                         {k for k, o in known.items() if o["category"] == 0 and o["site"] == "edx"})
        self.assertEqual(keys("--since", "2024-07-05", "--until", "2024-07-06"),
                         {k for k, o in known.items() if "2024-07-05" <= o["date"] <= "2024-07-06"})
        self.assertEqual(keys("--state", "IGNORED,retry"), {k for k, o in known.items() if o["state"] in ("IGNORED", "RETRY")})
        self.assertEqual(keys("--org", "other"), set())
        members = [m for o in self.ask("list", "list", "--member", "*-auth_user-*")["objects"] for m in o["members"]]
        self.assertEqual({m["table"] for m in members}, {"auth_user"})

    def test_nothing_to_show_is_said(self):
        """A sentence, and not the head of a table without rows."""
        w = self.world
        for args, said in ((["list", "--org", "other"], "No objects match.\n"),
                           (["list", "--member", "none*"], "No members match.\n"),
                           (["audit", "--until", "2020-01-01"], "The audit record has no entries of these days.\n")):
            self.assertEqual(self.ctl(*args).out, said, args)
        w.config["openpgp"] = {"homedir": w.folder / "no-home"}
        self.assertRegex(self.ctl("key", "list").out, r"^There is no secret key in [^\n]*: czarctl keygen[^\n]*\n$")
        db = sqlite3.connect(w.state / "ledger.db")
        db.execute("DELETE FROM member")
        db.execute("DELETE FROM object")
        db.commit()
        db.close()
        self.assertEqual(self.ctl("gaps", "--fail").out, "No gaps can be told: nothing is known yet.\n")
        self.assertEqual(self.ctl("list").out, "No objects are known yet: no poll found any.\n")
        self.assertIn("Nothing is known yet", self.ctl("status", code=None).out)

    def test_plan(self):
        self.assertEqual(self.ask("plan", "plan")["objects"], [])
        before = (self.world.state / "ledger.db").read_bytes()
        extra = "universityx/edx/events/2024/universityx-edx-events-2024-07-09.log.gz.gpg"
        new = self.s3.root / "edx-course-data" / extra
        shutil.copy(new.with_name("universityx-edx-events-2024-07-08.log.gz.gpg"), new)
        self.addCleanup(new.unlink)
        said = self.ask("plan", "plan", "--full")
        self.assertEqual([o["key"] for o in said["objects"]], [extra])
        self.assertEqual(said["total_bytes"], new.stat().st_size)
        self.assertEqual(self.ask("plan", "plan", "--offline")["objects"], [])
        self.assertEqual((self.world.state / "ledger.db").read_bytes(), before, "plan changes nothing")

    def test_plan_knows_another_size_under_one_etag(self):
        """What czard fetches again for it is planned, too."""
        with contextlib.closing(sqlite3.connect(self.world.state / "ledger.db")) as db:
            (key,) = db.execute("SELECT max(key) FROM object WHERE key LIKE '%-events-%'").fetchone()
            db.execute("UPDATE object SET size = size + 1 WHERE key = ?", (key,))
            db.commit()
        said = self.ask("plan", "plan", "--full")
        self.assertEqual([o["key"] for o in said["objects"]], [key])

    def test_plan_at_the_very_start(self):
        """Without a ledger everything is to be fetched; what czard then does is the same."""
        self.world.fresh()
        planned = {o["key"] for o in self.ask("plan", "plan")["objects"]}
        self.assertFalse((self.world.state / "ledger.db").exists())
        self.assertEqual(self.world.once().code, 0)
        self.assertEqual(planned, {k for k, o in self.world.objects().items() if o["state"] == "PUBLISHED"})

    def test_plan_keeps_snapshots_and_last_copies(self):
        """As czard: the newest ones, and an older one that has the last copy of a course."""
        w = self.world
        older, newer = (w.objects()[f"universityx-2024-{day}.zip"] for day in ("06-30", "07-07"))
        w.config["staging"]["keep_snapshots"] = "1"
        db = self.enterContext(contextlib.closing(sqlite3.connect(w.state / "ledger.db")))
        db.execute("UPDATE object SET state = 0, staged_etag = '' WHERE key = ?", [older["key"]])
        def plan(old, new):
            for o, courses in ((older, old), (newer, new)):
                db.execute("INSERT OR REPLACE INTO archive (object_id, courses_etag) VALUES (?, ?)",
                           [o["id"], "" if courses is None else o["etag"]])
                db.execute("DELETE FROM archive_course WHERE object_id = ?", [o["id"]])
                db.executemany("INSERT INTO archive_course VALUES (?, ?)", [(o["id"], c) for c in courses or ()])
            db.commit()
            said = self.ask("plan", "plan", "--offline")
            return [o["key"] for o in said["objects"]], said["undecided"], said["undecided_bytes"]
        self.assertEqual(plan(["A", "B"], ["A", "B", "C"]), ([], 0, 0))
        self.assertEqual(plan(["A", "B"], ["A", "C"]), ([older["key"]], 0, 0))
        self.assertEqual(plan(None, ["A"]), ([], 1, older["size"]))
        self.assertIn("1 older snapshot beyond keep_snapshots", self.ctl("plan", "--offline").out)
        # also when nothing is known at all
        w.fresh()
        w.config["staging"]["keep_snapshots"] = "1"
        said = self.ask("plan", "plan")
        self.assertIn(newer["key"], {o["key"] for o in said["objects"]})
        self.assertNotIn(older["key"], {o["key"] for o in said["objects"]})
        self.assertEqual((said["undecided"], said["undecided_bytes"]), (1, older["size"]))

    def check_altered_manifests(self, manifest):
        whole = manifest.read_bytes()
        lines = whole.splitlines(keepends=True)
        last = json.loads(lines[-1])
        manifest.chmod(0o640)
        altered = [b"".join(lines[:-1]), whole + lines[-1], whole[:-1], b"", b"".join(lines[1:])]
        altered += [b"".join(lines[:-1]) + json.dumps({**last, **other}).encode() + b"\n"
                    for other in ({"rows": 1 + (last["rows"] or 0)}, {"size": last["size"] + 1}, {"path": "x"}, {"course": "x"},
                                  {"table": None}, {"sha256": "0" * 64}, {"site": "x"}, {"more": 1})]
        for text in altered:
            manifest.write_bytes(text)
            said = self.ask("verify", "verify", code=1)
            self.assertEqual([(p["what"], p["path"]) for p in said["problems"]],
                             [("altered", str(manifest.relative_to(self.world.staging)))], text[-300:])
        self.ask("verify", "verify", manifest, code=1)
        manifest.unlink()
        said = self.ask("verify", "verify", code=1)
        self.assertEqual([(p["what"], p["path"]) for p in said["problems"]],
                         [("missing", str(manifest.relative_to(self.world.staging)))])
        manifest.write_bytes(whole)
        manifest.chmod(0o440)
        self.ask("verify", "verify")

    def test_verify(self):
        said = self.ask("verify", "verify")
        self.assertTrue(said["ok"])
        hashed = [p for p in self.world.staging.rglob("*") if p.is_file() and not p.is_symlink()
                  and p.name not in (".czard-id", "SHA256SUMS", "MANIFEST.jsonl", "REJECTED", "CHANGES.jsonl")]
        self.assertEqual(said["files"], len(hashed))
        # as in the manual: `latest` is what it points to; and what is not there is not well
        latest = (self.world.staging / "universityx/database/latest").resolve()
        self.assertEqual(self.ask("verify", "verify", f"{self.world.staging}/universityx/database/latest/")["files"],
                         len([p for p in hashed if latest in p.parents]))
        self.assertIn("no staged file", self.ctl("verify", self.world.staging / "universityx/evnts", code=3).err)
        self.check_altered_manifests(latest / "MANIFEST.jsonl")
        one = next(p for p in hashed if "events" in p.parts)
        bytes_ = bytearray(one.read_bytes())
        bytes_[len(bytes_) // 2] ^= 1
        one.chmod(0o640)
        one.write_bytes(bytes_)
        other = next(p for p in hashed if "database" in p.parts)
        other.unlink()
        said = self.ask("verify", "verify", code=1)
        self.assertEqual({(p["what"], p["path"]) for p in said["problems"]},
                         {("altered", str(one.relative_to(self.world.staging))),
                          ("missing", str(other.relative_to(self.world.staging)))})
        self.assertEqual(self.ask("verify", "verify", one, code=1)["files"], 1)
        self.ask("verify", "verify", "universityx/rdx/")
        self.assertIn("not below", self.ctl("verify", "/etc/passwd", code=2).err)

    def test_lists_of_a_snapshot(self):
        """A folder without its SHA256SUMS or MANIFEST.jsonl, or with others, is not what was staged: told by verify and by adopt,
        and mended by resync."""
        folder = (self.world.staging / "universityx/database/latest").resolve()
        key = next(k for k, o in self.world.objects().items() if o["path"] and folder == self.world.staging / o["path"])
        state = lambda: self.world.objects()[key]["state"]
        for name in ("SHA256SUMS", "MANIFEST.jsonl"):
            for what, change in (("missing", None), ("altered", lambda text: text.split("\n", 1)[1]), ("altered", lambda text: text + "x")):
                for found_by in ("verify", "adopt"):
                    with self.subTest(name=name, what=what, found_by=found_by):
                        list_ = folder / name
                        whole = list_.read_text()
                        list_.chmod(0o640)
                        if change:
                            list_.write_text(change(whole))
                        else:
                            list_.unlink()
                        if found_by == "verify":
                            said = self.ask("verify", "verify", code=1)["problems"]
                            self.assertEqual([(p["what"], p["path"]) for p in said], [(what, str(list_.relative_to(self.world.staging)))])
                            self.ask("verify", "verify", list_, code=1)
                        else:
                            self.assertEqual(self.ctl("adopt", "--json").json["missing"], 1)
                        self.assertEqual(state(), "MISSING")
                        list_.write_text(whole)
                        list_.chmod(0o440)
                        self.assertEqual(self.ctl("adopt", "--json").json["adopted"], 1)
                        self.assertEqual(state(), "PUBLISHED")
                        self.ask("verify", "verify")
        (folder / "SHA256SUMS").unlink()
        self.ask("verify", "verify", code=1)
        self.ctl("resync", f"s3://{self.world.objects()[key]['bucket']}/{key}")
        self.assertEqual(self.world.once().code, 0)
        self.ask("verify", "verify")

    def test_verify_of_the_feed(self):
        """Damaged, cut or gone: told, with what to do, which helps."""
        feed = self.world.staging / "universityx/CHANGES.jsonl"
        whole = feed.read_bytes()
        lines = whole.splitlines(keepends=True)
        damaged = b"".join([*lines[:4], lines[4].replace(b'"size":', b'"size":1', 1), *lines[5:]])
        for content, what, text in ((damaged, "altered", "line 5 is not"), (b"".join(lines[:4] + lines[5:]), "altered", "line 5 is not"),
                                    (b"".join(lines[:5]), "altered", "ends with line 5"), (None, "missing", "its next poll")):
            with self.subTest(text):
                feed.unlink(missing_ok=True)
                if content is not None:
                    feed.write_bytes(content)
                for paths in ((), (feed,), ("universityx/CHANGES.jsonl",), ("universityx",)):
                    said = self.ask("verify", "verify", *paths, code=1)["problems"]
                    self.assertEqual([(p["what"], p["path"]) for p in said], [(what, "universityx/CHANGES.jsonl")], paths)
                    self.assertIn(text, said[0]["text"])
                if "remove the file" in said[0]["text"]:
                    feed.unlink()
                self.assertEqual(self.world.once().code, 0)
                self.assertEqual(feed.read_bytes(), whole)
                for paths in ((), (feed,), ("universityx",), ("universityx/rdx/",)):
                    self.ask("verify", "verify", *paths)

    def test_verify_of_another_volume(self):
        """What is not there because nothing is mounted is not missing."""
        audit = self.world.state / "audit.jsonl"
        aside = self.world.staging.with_name("aside")
        before = audit.read_bytes()
        self.world.staging.rename(aside)
        self.world.staging.mkdir(0o750)
        try:
            self.assertIn("is it mounted?", self.ctl("verify", code=3).err)
            self.assertEqual(list(self.world.staging.iterdir()), [])
        finally:
            self.world.staging.rmdir()
            aside.rename(self.world.staging)
        self.assertEqual(audit.read_bytes(), before)
        self.assertTrue(self.ask("verify", "verify")["ok"])

    def test_verify_audit(self):
        path = self.world.state / "audit.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        head = hashlib.sha256(lines[-1][:-1]).hexdigest()
        for same in (head, head.upper()):
            self.assertEqual(self.ask("verify", "verify", "--audit", "--head", same)["audit_entries"], len(lines))
        earlier = hashlib.sha256(lines[3][:-1]).hexdigest()
        self.ask("verify", "verify", "--audit", "--head", earlier)
        for head_that_is_none in (head[:-1], head + "0", "g" + head[1:], ""):
            self.ctl("verify", "--audit", "--head", head_that_is_none, code=2)
        change = lambda line: line.replace(b'"event":"', b'"event":"x', 1)
        number = lambda line: re.sub(rb'"seq":\d+', b'"seq":9999', line)
        last = lines[-1]
        # what was done; what is told
        for altered, told in (
                (lines[:3] + [change(lines[3])] + lines[4:], "line 5: the chain breaks"),
                (lines[:3] + lines[4:], "line 4: the chain breaks"),
                (lines[1:], "line 1: the chain breaks"),
                (lines[:3] + [lines[4], lines[3]] + lines[5:], "line 4: the chain breaks"),
                (lines[:4] + [lines[3]] + lines[4:], "line 5: the chain breaks"),
                (lines[:3] + [b"{}\n"] + lines[3:], "line 4: altered, it is no line of czard's"),
                (lines[:3] + [lines[3][:-1] + b" \n"] + lines[4:], "line 4: altered, it is no line of czard's"),
                (lines[:3] + [b"x" * 70000 + b"\n"] + lines[4:], "line 4: too long"),
                (lines[:-1] + [last.replace(b'"prev":"', b'"prev":"0', 1)], f"line {len(lines)}: altered"),
                (lines[:-1] + [number(last)], f"line {len(lines)}: altered, it says that it is number 9999"),
                (lines[:-1] + [change(last)], f"{len(lines)} lines): no line has the hash"),
                (lines[:-1], f"{len(lines) - 1} lines): no line has the hash"),
                ([], "0 lines): no line has the hash")):
            with self.subTest(told=told):
                path.write_bytes(b"".join(altered))
                said = self.ask("verify", "verify", "--audit", "--head", head, code=1)
                self.assertEqual([(p["path"], p["what"]) for p in said["problems"]], [("audit.jsonl", "broken chain")])
                self.assertIn(told, said["problems"][0]["text"])
                self.assertIn(told, self.ctl("verify", "--audit", "--head", head, code=1).out)
                self.ctl("verify", "--audit", code=1)

    def test_audit(self):
        entries, _ = self.world.audit()
        self.assertEqual(self.ask("audit", "audit")["entries"], entries)
        self.assertEqual(self.ask("audit", "audit", "--until", "2020-01-01")["entries"], [])
        rows = self.ctl("audit", "--csv").out.split("\n")
        self.assertEqual(rows[0].split(",")[:3], ["time", "seq", "event"])
        self.assertEqual(len(rows), len(entries) + 2)

    def test_backup(self):
        copy = self.world.folder / "copy.db"
        self.ctl("backup", copy)
        db = sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)
        self.assertEqual(db.execute("SELECT count(*) FROM object").fetchone()[0], len(self.world.objects()))
        ledger = self.world.state / "ledger.db"
        before = ledger.stat().st_ino
        for args in (["backup", ledger], ["metrics", "--output", ledger], ["report", "--html", self.world.state / "audit.jsonl"]):
            self.assertIn("only czard writes", self.ctl(*args, code=3).err)
        self.assertEqual(ledger.stat().st_ino, before)
        db.close()
        self.assertEqual(stat.S_IMODE(copy.stat().st_mode), 0o600)

    def check_exposition(self, text):
        self.assertTrue(text.endswith("\n# EOF\n"))
        types, families, last = {}, [], None
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name = line.split()[2]
                self.assertNotIn(name, types)
                types[name] = line.split()[3]
            elif not line.startswith("#"):
                m = re.fullmatch(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (-?\d+(?:\.\d+)?)', line)
                self.assertTrue(m, line)
                self.assertIn(m[1], types)
                if m[1] != last:
                    self.assertNotIn(m[1], families, "a family is in one piece")
                    families.append(m[1])
                last = m[1]

    def test_metrics(self):
        text = self.ctl("metrics").out
        self.check_exposition(text)
        self.assertIn('czard_objects{org="universityx",category="events",site="edx",state="PUBLISHED"} 5', text)
        for name in ("poll_duration_seconds", 'transfer_duration_seconds{category="events"}',
                     'transfer_duration_seconds{category="database"}'):
            self.assertGreater(float(re.search(rf"(?m)^czard_last_{re.escape(name)} (.*)$", text)[1]), 0)
        target = self.world.folder / "czard.prom"
        target.write_text("old")
        inode = target.stat().st_ino
        self.ctl("metrics", "--output", target)
        self.check_exposition(target.read_text())
        self.assertNotEqual(target.stat().st_ino, inode, "replaced in one step")
        self.assertEqual([p.name for p in self.world.folder.glob("*.czarctl*")], [])

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool(self):
        done = subprocess.run(["promtool", "check", "metrics"], input=self.ctl("metrics").out, text=True, capture_output=True,
                              check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        done = subprocess.run(["promtool", "check", "rules", ALERTS], text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_alerts(self):
        """The example asks for metrics that there are, with labels that they have."""
        known = {"czard_key_expiry_days": set()}  # not there: the key never expires
        for name, labels in re.findall(r"(?m)^(czard_\w+)(?:\{(.*)\})? ", self.ctl("metrics").out):
            known.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
        for rule in re.split(r"(?m)^ +- alert: ", ALERTS.read_text())[1:]:
            used = re.findall(r"\bczard_\w+", re.search(r"expr: (.*)", rule)[1].replace("czard.prom", ""))
            for name in used:
                self.assertIn(name, known)
            for label in re.findall(r"\$labels\.(\w+)", rule):
                self.assertIn(label, known[used[0]] | {"instance"} if used else {"instance"}, rule)
            self.assertIn("description", rule)

    def test_report(self):
        page = self.world.folder / "report.html"
        self.ctl("report", "--html", page)
        text = page.read_text()
        reader = Page()
        reader.feed(text)
        reader.close()
        self.assertEqual(reader.open, [], "every element is closed")
        self.assertEqual(reader.outside, [], "nothing from elsewhere, no script")
        self.assertEqual(len(reader.ids), len(set(reader.ids)))
        self.assertLessEqual(set(reader.links), set(reader.ids))
        # for who has it read aloud
        self.assertEqual(reader.unnamed, [], "tables have captions and heads with a scope, pictures and sections a name")
        self.assertEqual(reader.landmarks, ["header", "nav", "main", "footer"])
        self.assertEqual(reader.headings[:2], [1, 2])
        self.assertTrue(all(b <= a + 1 for a, b in zip(reader.headings, reader.headings[1:])), reader.headings)
        self.assertEqual(reader.headings.count(1), 1)
        for word in ("universityx, edx", "universityx, database: 2 snapshots", "universityx edx 2024, 5 there, 177 missing",
                     "To look at", "files of universityx, edx, are late since 2024-07-09", "What vanished or shrank"):
            self.assertTrue(word in text, word)
        # the same in JSON
        data = self.ctl("report", "--json").json
        self.assertEqual(data["version"], 1)
        self.assertFalse(data["ok"])
        self.assertEqual(data["staged"], sum(o["state"] == "PUBLISHED" for o in self.world.objects().values()))
        self.assertEqual([(g["category"], g["n"]) for g in data["snapshots"]], [("database", 2), ("email-opt-in", 2)])
        year = next(y for s in data["series"] if s["site"] == "edx" for y in s["years"] if y["year"] == 2024)
        self.assertEqual((year["there"], year["missing"]), (5, 177))
        self.assertEqual(sum(d["sign"] == "missing" for h in year["halves"] for d in h["days"]), 177)
        self.assertEqual(text.count('href="#sign-there"'), 1 + sum(y["there"] for s in data["series"] for y in s["years"]))
        # what is in the files is not in the page
        for staged in self.world.staging.rglob("*.sql"):
            for line in staged.read_text(errors="replace").splitlines()[1:20]:
                for cell in line.split("\t"):
                    if "@" in cell:
                        self.assertFalse(cell in text, cell)

    def test_report_changes(self):
        """Tables that vanished or shrank by more than half, against a count of our own."""
        db = sqlite3.connect(self.world.state / "ledger.db")
        before, now = [i for i, in db.execute("SELECT id FROM object WHERE category = 1 AND state = 3 ORDER BY date")]
        gone = db.execute('SELECT course, "table" FROM member WHERE object_id = ? AND course <> \'\' AND state = 3 LIMIT 1', (now,)).fetchone()
        db.execute('DELETE FROM member WHERE object_id = ? AND course = ? AND "table" = ?', (now, *gone))
        half = db.execute('SELECT course, "table" FROM member WHERE object_id = ? AND state = 3 LIMIT 1', (now,)).fetchone()
        db.execute('UPDATE member SET plain_size = 2 + 2 * plain_size WHERE object_id = ? AND course = ? AND "table" = ?', (now, *half))
        db.execute('UPDATE member SET plain_size = 100 + 5 * plain_size WHERE object_id = ? AND course = ? AND "table" = ?', (before, *half))
        sizes = [{}, {}]
        for size, snapshot in zip(sizes, (before, now)):
            for course, table, n in db.execute('SELECT course, "table", plain_size FROM member WHERE object_id = ? AND state = 3 '
                                               "AND NOT failed", (snapshot,)):
                size[table, course] = size.get((table, course), 0) + n
        db.commit()
        db.close()
        told = {c["what"]: c for c in self.ctl("report", "--json").json["changes"] if c["date"] == "2024-07-07"}
        expected = {"vanished": [k for k in sorted(sizes[0]) if k not in sizes[1]],
                    "shrank by more than half": [k for k in sorted(sizes[0]) if k in sizes[1] and 2 * sizes[1][k] < sizes[0][k]]}
        self.assertIn((half[1], half[0]), expected["shrank by more than half"])
        for what, names in expected.items():
            self.assertEqual(told[what]["tables"], len(names))
            self.assertEqual(told[what]["names"], [f"{course} {table}".strip() for table, course in names][:12])

    def browse(self, url, what="--dump-dom"):
        profile = self.world.folder / "browser"
        return subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
                               "--enable-logging=stderr", "--allow-file-access-from-files", "--hide-scrollbars", what, url.as_uri()],
                              capture_output=True, text=True, timeout=120, check=True,
                              env={"PATH": os.environ["PATH"], "HOME": str(profile)})

    @unittest.skipUnless(shutil.which("chromium"), "chromium is not installed")
    def test_report_in_a_browser(self):
        page = self.world.folder / "report.html"
        self.ctl("report", "--html", page)
        seen = self.browse(page)
        self.assertNotIn("CONSOLE", seen.stderr)
        self.assertIn("Days of events", seen.stdout)
        # nothing sticks out, also on a phone
        frames = self.world.folder / "frames.html"
        frames.write_text("""<!DOCTYPE html><title>-</title><body>
            <iframe src="report.html" width="1280" height="900"></iframe><iframe src="report.html" width="390" height="800"></iframe>
            <iframe src="report.html" width="320" height="800"></iframe><script>onload = () => { for (let i = 0; i < frames.length; i++) {
            const f = frames[i], d = f.document, wide = d.documentElement.scrollWidth;
            document.body.append(` [${f.innerWidth} ${wide} ${getComputedStyle(d.body).color}]`) } }</script>""")
        said = re.findall(r"\[(\d+) (\d+) (rgb[^\]]*)\]", self.browse(frames).stdout)
        self.assertEqual([(int(a), int(b)) for a, b, _ in said], [(w, w) for w in (1280, 390, 320)])

    @unittest.skipUnless(shutil.which("chromium") and shutil.which("pdftotext"), "chromium and pdftotext are not installed")
    def test_report_on_paper(self):
        """What is folded away on the screen is printed."""
        db = sqlite3.connect(self.world.state / "ledger.db")
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM object WHERE category = 1 AND state = 3 ORDER BY date LIMIT 1").fetchone())
        del row["id"]
        for week in range(1, 20):
            date = f"{datetime.date.fromisoformat(row['date']) - datetime.timedelta(weeks=week)}"
            new = row | {"date": date, "key": f"universityx-{date}.zip", "path": f"universityx/database/{date}"}
            db.execute(f"INSERT INTO object ({','.join(new)}) VALUES ({','.join('?' * len(new))})", list(new.values()))
        db.commit()
        db.close()
        page, paper = self.world.folder / "report.html", self.world.folder / "report.pdf"
        self.ctl("report", "--html", page)
        self.browse(page, f"--print-to-pdf={paper}")
        printed = subprocess.run(["pdftotext", "-layout", paper, "-"], capture_output=True, text=True, check=True).stdout
        self.assertIn(date, printed.split("older ones")[1].split("vanished")[0])

    def test_report_colours(self):
        """Text and signs stand out from the ground (WCAG AA), light and dark."""
        def luminance(colour):
            parts = [int(colour[i:i + 2], 16) / 255 for i in (0, 2, 4)]
            parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
        page = self.world.folder / "report.html"
        self.ctl("report", "--html", page)
        themes = re.findall(r":root\{((?:color-scheme:[^;]*;)?--bg:[^}]*)\}", page.read_text())[:2]
        self.assertEqual(len(themes), 2)
        for theme in themes:
            colours = {}
            for name, c in re.findall(r"--(\w+):#([0-9a-f]+)", theme):
                colours[name] = luminance("".join(2 * x for x in c) if len(c) == 3 else c)
            for name, least, grounds in (("fg", 7, "bg card wash fine"), ("soft", 4.5, "bg card"), ("accent", 4.5, "bg"),
                                         ("missing", 4.5, "bg card"), ("there", 3, "bg"), ("late", 3, "bg"),
                                         ("replaced", 3, "bg"), ("refused", 3, "bg")):
                for ground in grounds.split():
                    a, b = sorted((colours[name], colours[ground]), reverse=True)
                    self.assertGreaterEqual((a + 0.05) / (b + 0.05), least, (name, ground))

    def test_gaps(self):
        said = self.ask("gaps", "gaps")["gaps"]
        self.assertIn(("events", "edx", "2024-07-06", "2024-07-06"), {(g["category"], g["site"], g["from"], g["to"]) for g in said})
        self.assertTrue(all(g["open"] == (g["to"] > "2024-07-08") for g in said))
        self.ctl("gaps", "--fail", code=1)

    def test_changes_without_czard(self):
        """What needs no network is done under the lock, and audited."""
        key = "universityx/edx/events/2024/universityx-edx-events-2024-07-05.log.gz.gpg"
        staged = self.world.staging / self.world.objects()[key]["path"]
        self.ask("changes", "pause", "--reason", "legal hold")
        refused = self.ctl("forget", key, "--reason", "x", code=3).err
        self.assertIn("legal hold", refused)
        self.assertNotIn("configuration", refused, "nothing is wrong with it")
        self.assertTrue(staged.exists())
        self.assertIn("one line", self.ctl("pause", "--reason", "a\nb", code=2).err)
        self.assertIn("paused", [p["what"] for p in self.ask("status", "status", code=1)["problems"]])
        self.ask("changes", "unpause")
        rows = self.ask("changes", "forget", f"s3://edx-course-data/{key}", "--reason", "request 17")["objects"]
        self.assertEqual({r["what"] for r in rows}, {"forgotten"})
        self.assertFalse(staged.exists())
        self.assertEqual(self.world.objects()[key]["state"], "FORGOTTEN")
        entries, _ = self.world.audit()
        self.assertEqual([(e["event"], e["reason"], e["uid"]) for e in entries if e["event"] == "forgotten"],
                         [("forgotten", "request 17", os.getuid())])
        self.s3.forget_requests()
        self.assertEqual(self.world.once().code, 0)
        self.assertEqual([r for r in self.s3.requests() if r.op == "get"], [], "forgotten is not fetched again")
        self.ask("changes", "resync", "*edx-events-2024-07-05*")
        self.assertEqual(self.world.objects()[key]["state"], "NEW")
        self.assertEqual(self.world.once().code, 0)
        self.assertTrue(staged.exists())
        self.assertIn("not known", self.ctl("resync", "s3://edx-course-data/none", code=3).err)
        self.assertIn("czard does not run", self.ctl("resync", code=3).err)

    def test_record_of_forgetting(self):
        out = self.ctl("forget", "*2024-07-07.zip", "--reason", "request 18").out
        for word in ("Record of removal", "request 18", "universityx/database/2024-07-07"):
            self.assertIn(word, out)
        self.assertEqual(os.readlink(self.world.staging / "universityx/database/latest"), "2024-06-30")
        self.assertEqual(self.world.members("universityx-2024-07-07.zip"), {}, "no name of a member is kept")

    def test_latest(self):
        link = self.world.staging / "universityx/database/latest"
        self.assertEqual(self.ask("latest", "latest", "universityx")["latest"][0],
                         {"category": "database", "latest": "2024-07-07", "pinned": False, "choice": "2024-07-07",
                          "unmatched": []})
        self.assertTrue(self.ask("latest", "latest", "universityx", "2024-06-30")["latest"][0]["pinned"])
        self.assertEqual(os.readlink(link), "2024-06-30")
        self.assertEqual(self.world.once().code, 0)
        self.assertEqual(os.readlink(link), "2024-06-30", "czard keeps to it")
        self.ask("latest", "latest", "universityx", "auto")
        self.assertEqual(os.readlink(link), "2024-07-07")
        self.ctl("latest", "universityx", "2024-01-01", code=3)
        self.assertIn("'univresityx'", self.ctl("latest", "univresityx", code=3).err)

    def test_prune(self):
        self.assertEqual(self.ask("prune", "prune")["items"], [])
        w = self.world
        w.config["staging"].update(keep_days="1", keep_snapshots="1")
        events = {o["path"] for o in w.objects().values() if o["category"] == 0 and o["state"] == "PUBLISHED"}
        said = self.ask("prune", "prune")
        self.assertEqual({i["path"] for i in said["items"] if i["text"] == "keep_days"}, events)
        self.assertFalse(said["applied"])
        self.assertTrue(all((w.staging / p).exists() for p in events), "only shown")
        # a snapshot goes only when every course of it is in a kept one
        def courses(date):
            return {m["course"] for m in w.members(f"universityx-{date}.zip").values() if m["course"] and m["state"] == "PUBLISHED"}
        spared = not courses("2024-06-30") <= courses("2024-07-07")
        gone = "universityx/database/2024-06-30" in {i["path"] for i in said["items"]}
        self.assertEqual(gone, not spared)
        self.assertTrue(self.ask("prune", "prune", "--apply")["applied"])
        self.assertFalse(any((w.staging / p).exists() for p in events))
        self.assertEqual((w.staging / "universityx/database/2024-06-30").exists(), spared)
        self.assertTrue((w.staging / "universityx/database/2024-07-07").exists())
        self.s3.forget_requests()
        w.once()
        self.assertEqual([r for r in self.s3.requests() if r.op == "get"], [], "pruned is not fetched again")
        verify_audit(w.state / "audit.jsonl")

    def test_adopt(self):
        """A new disk with the old files on it; one is gone, one altered."""
        w = self.world
        objects = [o for o in w.objects().values() if o["state"] == "PUBLISHED" and o["category"] == 0]
        (w.staging / ".czard-id").unlink()
        (w.staging / objects[0]["path"]).unlink()
        altered = w.staging / objects[1]["path"]
        altered.chmod(0o640)
        altered.write_bytes(altered.read_bytes() + b"x")
        self.assertEqual(w.once().code, 3, "another disk is not believed")
        said = self.ctl("adopt", "--json").json
        self.assertEqual((said["adopted"], said["missing"]), (0, 2))
        w.once()
        after = w.objects()
        self.assertEqual([after[o["key"]]["state"] for o in objects[:3]], ["MISSING", "MISSING", "PUBLISHED"])
        altered.write_bytes(altered.read_bytes()[:-1])
        self.assertEqual(self.ctl("adopt", "--json").json["adopted"], 1)
        self.assertEqual(w.objects()[objects[1]["key"]]["state"], "PUBLISHED")

    def test_adopt_after_the_ledger_was_lost(self):
        """It is made again from the record: what was forgotten stays so, and nothing is fetched twice."""
        w = self.world
        key = next(k for k, o in w.objects().items() if o["state"] == "PUBLISHED" and o["category"] == 0)
        self.ctl("forget", f"*{key.split('/')[-1]}", "--reason", "by order")
        before = {k: (o["state"], o["staged_etag"]) for k, o in w.objects().items()}
        for path in w.state.glob("ledger.db*"):
            path.unlink()
        said = self.ctl("adopt", "--json").json
        self.assertEqual(said["missing"], 0)
        gets = lambda: [r.key for r in self.s3.requests() if r.op == "get"]
        fetched = gets()
        self.assertEqual(w.once().code, 0)
        self.assertEqual(gets(), fetched)
        self.assertEqual({k: (o["state"], o["staged_etag"]) for k, o in w.objects().items()}, before)
        self.assertEqual(before[key][0], "FORGOTTEN")

    def test_check(self):
        w = self.world
        well = self.ask("check", "check")
        self.assertTrue(well["ok"])
        # one message for each key that can decrypt was made and came back
        self.assertTrue([c for c in well["checks"] if c["name"] == "message" and "was decrypted" in c["detail"]], well)
        w.config["s3"]["endpoint"] = "http://127.0.0.1:1"
        bad = {c["name"] for c in self.ask("check", "check", code=1)["checks"] if not c["ok"]}
        self.assertEqual(bad, {"prefix"})
        w.use(self.s3.endpoint, tls_endpoint=False)
        # what is not the fault of a prefix is said once
        self.s3.behave("skew", date_skew=-1200, status=403, code="RequestTimeTooSkewed")
        bad = [c for c in self.ask("check", "check", code=1)["checks"] if not c["ok"]]
        self.assertEqual([c["name"] for c in bad], ["clock"])
        self.assertRegex(bad[0]["detail"], r"^1[12]\d\d s ahead of the clock of S3")
        self.s3.behave("skew", status=403, code="InvalidAccessKeyId")
        bad = [c for c in self.ask("check", "check", code=1)["checks"] if not c["ok"]]
        self.assertEqual([c["name"] for c in bad], ["credentials"])
        self.assertIn(w.facts["access_key_id"], bad[0]["detail"])
        self.s3.behave("skew")
        # without credentials that is said once, with what to do
        stored = w.config["s3"].pop("credentials")
        said = [c for c in self.ask("check", "check", code=1)["checks"] if c["name"] in ("credentials", "prefix")]
        self.assertEqual([(c["name"], c["ok"]) for c in said], [("credentials", False)])
        self.assertIn("import-credentials", said[0]["fix"])
        plan = self.ctl("plan", "--full", code=3)
        self.assertEqual(plan.err.count("listing s3://"), 1, plan)
        self.assertIn("more may be due", plan.err)
        w.config["s3"]["credentials"] = stored
        w.state.chmod(0o757)
        bad = [c for c in self.ask("check", "check", code=1)["checks"] if not c["ok"]]
        w.state.chmod(0o750)
        self.assertEqual([c["name"] for c in bad], ["state"])
        self.assertIn("chmod", bad[0]["detail"] + str(bad[0]["fix"]))

    @unittest.skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_no_advice_gives_the_service_away(self):
        """Started by the wrong user, nothing says that the folders be given to him."""
        w, service, other = self.world, 64123, 64124
        w.folder.chmod(0o755)
        folders = [w.state, *w.state.iterdir(), w.staging]
        for path in folders:
            os.chown(path, service, other)
        self.addCleanup(lambda: [os.chown(path, 0, 0) for path in folders])
        done = w.once()
        self.assertEqual(done.code, 3, done)
        self.assertIn("runuser", done.stderr)
        said = czarctl(w, "check", below=["setpriv", f"--reuid={other}", f"--regid={other}", "--clear-groups"])
        self.assertEqual(said.code, 1, said)
        for text in (done.stderr, said.out, said.err):
            self.assertNotIn("chown", text)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_becomes_the_owner(self):
        """Root reads and writes state as its owner, but puts a backup where only root may."""
        w, uid = self.world, 64123
        for path in [w.state, *w.state.iterdir()]:
            os.chown(path, uid, uid)
        w.folder.chmod(0o755)
        os.chown(w.run_folder, uid, uid)
        self.addCleanup(os.chown, w.run_folder, 0, 0)
        w.package.chmod(0o755)
        private = w.folder / "root-only"
        private.mkdir(mode=0o700)
        self.ctl("backup", private / "copy.db")
        self.assertEqual((private / "copy.db").stat().st_uid, 0)
        self.ctl("metrics", "--output", private / "m.prom")
        self.ctl("pause", "--reason", "x")
        owners = {p.name: p.stat().st_uid for p in w.state.iterdir()}
        self.assertEqual(set(owners.values()), {uid}, owners)
        self.assertIn("0", {str(e.get("uid")) for e in w.audit()[0] if e["event"] == "pause"}, "who asked was root")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_root_follows_no_link_of_the_service(self):
        """What root writes goes where root's links lead, and never where one leads that the user of czard has made."""
        w, uid = self.world, 64123
        for path in [w.state, *w.state.iterdir()]:
            os.chown(path, uid, uid)
        w.folder.chmod(0o755)
        os.chown(w.run_folder, uid, uid)
        self.addCleanup(os.chown, w.run_folder, 0, 0)
        private, folder, roots = (w.folder / n for n in ("private", "service", "roots"))
        for path in (private, folder, roots):
            path.mkdir(mode=0o700)
        (folder / "real").mkdir()
        (folder / "out").symlink_to(private)
        (roots / "out").symlink_to("../private")
        for path in (folder, folder / "real", folder / "out"):
            os.chown(path, uid, uid, follow_symlinks=False)
        self.ctl("metrics", "--output", roots / "out" / "m.prom")
        self.assertEqual((private / "m.prom").stat().st_uid, 0)
        self.ctl("metrics", "--output", folder / "real" / "m.prom")
        for command in (("metrics", "--output"), ("report", "--html"), ("backup",)):
            said = self.ctl(*command, folder / "out" / "x", code=3)
            self.assertIn("a link in a folder of somebody else", said.err)
        self.assertEqual([p.name for p in private.iterdir()], ["m.prom"])

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_root_becomes_nobody_by_a_link_of_the_service(self):
        """Who owns state_dir decides whom root becomes: a link of another user does not."""
        w, uid = self.world, 64123
        w.folder.chmod(0o755)
        service = w.folder / "services"
        service.mkdir(mode=0o755)
        os.chown(service, uid, uid)
        before, w.config["daemon"]["state_dir"] = w.config["daemon"]["state_dir"], service / "state"
        self.addCleanup(w.config["daemon"].__setitem__, "state_dir", before)
        (service / "state").symlink_to(w.state)
        (service / "state-deliver").symlink_to(w.state)
        for path in service.iterdir():
            os.chown(path, uid, uid, follow_symlinks=False)
        ledger = (w.state / "ledger.db").stat().st_mtime_ns, sorted(p.name for p in w.state.iterdir())
        for command in (("pause", "--reason", "x"), ("status",), ("list",), ("deliver", "run")):
            said = self.ctl(*command, code=3)
            self.assertIn("a link in a folder of somebody else", said.err, command)
        self.assertEqual(((w.state / "ledger.db").stat().st_mtime_ns, sorted(p.name for p in w.state.iterdir())), ledger)
        # the deliveries' folder: made in a folder of the service, given away without following what was put there
        (service / "state").unlink()
        (service / "state").mkdir()
        os.chown(service / "state", uid, uid)
        said = self.ctl("deliver", "run", code=3)
        self.assertIn("a link in a folder of somebody else", said.err)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_who_gave_up_root_cannot_type_in_its_terminal(self):
        """What czarctl starts runs in the terminal of root, as a user who may be in an attacker's hands."""
        w, uid = self.world, 64123
        for path in [w.state, *w.state.iterdir()]:
            os.chown(path, uid, uid)
        w.folder.chmod(0o755)
        child = subprocess.Popen([program("czarctl", w.build), "--config", w.ini(), "changes", "--follow"], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=w.environment())
        try:
            said = child.stdout.readline()
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines())
        finally:
            child.kill()
            child.communicate()
        self.assertEqual(status["Uid"].split(), [str(uid)] * 4, said)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))  # which filter: unit/sandbox


class RunningTest(Base):
    """Beside a daemon."""

    def setUp(self):
        self.world.fresh()
        self.child = self.start()

    def start(self):
        # to a file: a pipe that nobody reads would fill up and hold czard
        with (self.world.folder / "log").open("ab") as log:
            child = subprocess.Popen([program("czard", self.world.build), "--config", self.world.ini()],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                                     env=self.world.environment())
        self.addCleanup(self.stop, child)
        self.wait_for(lambda: self.socket().exists() and
                      self.ask("status", "status", code=None)["last_poll"] is not None)
        czarctl(self.world, "resync", "--wait")
        return child

    def socket(self):
        return self.world.run_folder / "control"

    def stop(self, child):
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def wait_for(self, condition, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except (json.JSONDecodeError, sqlite3.Error, AssertionError):
                pass
            self.assertLess(time.monotonic(), end, "it did not happen in time")
            time.sleep(0.1)

    def test_socket(self):
        mode = self.socket().stat()
        self.assertEqual(stat.S_IMODE(mode.st_mode), 0o660)
        said = self.ask("status", "status", code=None)
        self.assertEqual(said["daemon"]["pid"], self.child.pid)
        self.assertIsNotNone(said["next_poll"])
        self.stop(self.child)
        self.assertFalse(self.socket().exists())

    def test_resync(self):
        key = "universityx/edx/events/2024/universityx-edx-events-2024-07-05.log.gz.gpg"
        self.s3.forget_requests()
        self.assertIn("1 staged, 0 not", self.ctl("resync", "--wait", f"s3://edx-course-data/{key}").out)
        # It is armored: another worker has the agent that this needs, and it is fetched for that one again.
        self.assertEqual([r.key for r in self.s3.requests() if r.op == "get"], [key, key])
        said = self.ctl("resync", "--wait", "--json").json
        self.assertTrue(said["complete"], said)

    def test_resync_that_fails(self):
        key = "universityx-2024-06-30.zip"
        path = self.s3.root / "course-data" / key
        whole = path.read_bytes()
        self.addCleanup(path.write_bytes, whole)
        path.write_bytes(b"\0" * len(whole))
        self.assertIn("except 1 rejected object", self.ctl("resync", "--wait", code=1).out)
        self.assertIn("0 staged, 1 not", self.ctl("resync", "--wait", f"s3://course-data/{key}", code=1).out)
        self.ask("status", "status", code=1)

    def test_pause_survives_a_restart(self):
        self.ctl("pause", "--reason", "audit")
        self.stop(self.child)
        self.child = self.start()
        said = self.ask("status", "status", code=1)
        self.assertEqual(said["daemon"]["paused"], "audit")
        self.s3.forget_requests()
        self.ctl("resync", "--wait", "*2024-07-05*", code=1)
        self.assertEqual([r for r in self.s3.requests() if r.op == "get"], [])
        self.ctl("unpause")
        self.ctl("resync", "--wait")
        self.assertTrue([r for r in self.s3.requests() if r.op == "get"])

    def test_forget_while_running(self):
        rows = self.ask("changes", "forget", "*-events-2024-07-0[3-5]*", "--reason", "request 19")["objects"]
        self.assertTrue(rows)
        left = [p for p in self.world.staging.rglob("*") if re.search(r"events-2024-07-0[3-5]", p.name)]
        self.assertEqual(left, [])
        self.ctl("resync", "--wait")
        self.assertEqual([p for p in self.world.staging.rglob("*") if re.search(r"events-2024-07-0[3-5]", p.name)], [])
        self.world.audit()

    def test_prune_and_latest(self):
        self.assertIn("nothing to prune", self.ctl("prune", "--apply").out)
        self.ask("latest", "latest", "universityx", "2024-06-30")
        self.assertEqual(os.readlink(self.world.staging / "universityx/database/latest"), "2024-06-30")
        self.assertIn("systemctl stop", self.ctl("adopt", code=3).err)

    def talk(self, *datagrams):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(PATIENCE)
        with s:
            s.connect(str(self.socket()))
            for d in datagrams:
                s.send(d)
            answers = []
            while True:
                try:
                    d = s.recv(1 << 17)
                except ConnectionResetError:
                    break
                if not d:
                    break
                answers.append(d)
            return answers

    def test_malformed_requests(self):
        good = b"czard-control 1\0"
        for bad in (b"x", good, b"czard-control 9\0status\0", good + b"status", good + b"\xff\xfe\0", good + b"a\x01b\0",
                    good + b"x\0" * 2000, good + b"no-such-thing\0", good + b"forget\0--\0*\0",
                    good + b"latest\0org=../..\0category=database\0date=2024-07-07\0", good + b"A" * 60000 + b"\0"):
            answers = self.talk(bad)
            self.assertEqual(len(answers), 1, bad[:60])
            self.assertRegex(answers[0], rb"^czard-control 1\0done\0[23]\0", bad[:60])
        self.talk(good + b"resync\0wait=1\0", good + b"status\0")
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(40)]
        for s in idle:
            s.setblocking(False)
            try:
                s.connect(str(self.socket()))
            except BlockingIOError:
                pass
        for s in idle:
            s.close()
        self.wait_for(lambda: self.ask("status", "status", code=None)["daemon"]["running"])
        self.assertIsNone(self.child.poll())

    def test_a_czard_that_does_not_answer_is_not_worked_around(self):
        os.unlink(self.socket())
        self.assertIn("cannot be asked", self.ctl("pause", code=3).err)


class OwnHelperTest(Base):
    """Something that czard started asks it for something."""

    def test_refused(self):
        w = self.world
        home = Path(tempfile.mkdtemp(prefix="czh.", dir="/tmp"))
        self.addCleanup(shutil.rmtree, home)
        (home / "bin").mkdir()
        (home / "libexec/czard").mkdir(parents=True)
        shutil.copy(program("czard", w.build), home / "bin/czard")
        shutil.copy(program("czard-decrypt", w.build), home / "libexec/czard")
        result = home / "result"
        helper = home / "libexec/czard/czard-fetch"
        helper.write_text(f"""#!/usr/bin/python3
import os, socket, time
if os.fork():
    time.sleep(60)
    os._exit(0)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(50)
try:
    s.connect({str(w.run_folder / 'control')!r})
    s.send(b"czard-control 1\\0status\\0")
    got = s.recv(65536)
except OSError as e:
    got = b"error " + str(e).encode()
with open({str(result)!r}, "wb") as f:
    f.write(b"got:" + got)
""")
        helper.chmod(0o755)
        log = self.enterContext((home / "log").open("wb"))
        child = subprocess.Popen([home / "bin/czard", "--config", w.ini()], env=w.environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + PATIENCE
            while not (result.exists() and result.read_bytes()) and time.monotonic() < end:
                time.sleep(0.1)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=60)
        self.assertIn("is refused", (home / "log").read_text())
        self.assertNotIn(b"row", result.read_bytes())


class StartTest(unittest.TestCase):
    """From nothing: key, credentials."""

    def setUp(self):
        self.world = w = self.enterContext(World(with_tls=False))
        s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(s3.endpoint, tls_endpoint=False)
        w.config["openpgp"] = {"homedir": w.folder / "home", "passphrase_file": w.folder / "secret"}
        w.config["s3"]["credentials"] = w.folder / "credentials"
        w.config["daemon"]["log_level"] = "info"
        self.pin = w.folder / "pin"
        self.pin.write_text("correct horse battery\nsecond line\n")
        self.pin.chmod(0o600)
        self.out = w.folder / "out"
        self.out.mkdir()

    def ctl(self, *args, code=0):
        answer = czarctl(self.world, *args)
        self.assertEqual(answer.code, code, answer)
        return answer

    def keygen(self, code=0, **more):
        args = {"name": "Data Czar", "email": "czar@universityx.example", "passphrase-file": self.pin, "output": self.out} | more
        return self.ctl("keygen", "--batch", *[f"--{k}={v}" for k, v in args.items()], code=code)

    def test_from_keygen_to_credentials(self):
        w = self.world
        self.assertIn("keygen", self.ctl("check", code=1).out)
        self.keygen(code=2, email="no-address")
        said = self.keygen().out
        self.assertNotIn("correct horse", said)
        home = w.folder / "home"
        self.assertEqual(stat.S_IMODE(home.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((w.folder / "secret").stat().st_mode), 0o400)
        self.assertEqual((w.folder / "secret").read_text().strip(), "correct horse battery")
        self.assertEqual(len(list((home / "openpgp-revocs.d").glob("*.rev"))), 1)
        readme = (self.out / "czard-public-key.README.txt").read_text()
        self.assertRegex(readme, r"fingerprint +[0-9A-F]{40}")
        listed = subprocess.run(["gpg", "--homedir", home, "--batch", "--with-colons", "--list-keys"], capture_output=True,
                                text=True, check=True).stdout
        self.assertRegex(listed, r"(?m)^pub:[^:]*:4096:1:")
        self.assertRegex(listed, r"(?m)^sub:[^:]*:4096:1:")
        # never replaced
        other = w.folder / "other"
        other.mkdir()
        self.assertIn("never replaced", self.keygen(code=3, output=other).err)
        self.assertEqual(list(other.iterdir()), [])

        keys = self.ctl("key", "list", "--json").json
        self.assertEqual(schema.check(keys, "key"), [])
        self.ctl("key", "extend", "--expire", "3y")
        later = self.ctl("key", "--json").json["keys"][0]
        self.assertGreater(later["expires"], keys["keys"][0]["expires"])
        self.assertIn("BEGIN PGP PUBLIC KEY BLOCK", self.ctl("key", "export").out)

        # what edX answers: encrypted to several, ours not the first
        message = w.folder / "credentials.csv.gpg"
        gpg = w.folder / "edx"
        gpg.mkdir(mode=0o700)
        run = ["gpg", "--homedir", gpg, "--batch", "--quiet", "--trust-model", "always"]
        subprocess.run([*run, "--import", self.out / "czard-public-key.asc"], check=True, capture_output=True)
        subprocess.run([*run, "-o", message, "-r", "czar@universityx.example", "--encrypt", w.package / "credentials.csv"],
                       check=True, capture_output=True)
        done = self.ctl("import-credentials", message)
        secret = w.facts["secret_access_key"]
        self.assertNotIn(secret, done.out + done.err)
        self.assertIn(w.facts["access_key_id"], done.out)
        stored = w.folder / "credentials"
        self.assertEqual(stat.S_IMODE(stored.stat().st_mode), 0o400)
        self.assertIn(secret, stored.read_text())
        self.assertEqual(self.ctl("check").code, 0)
        self.assertEqual([p for p in w.run_folder.iterdir() if p.name.startswith("ctl-")], [], "nothing is left behind")
        subprocess.run(["gpgconf", "--homedir", gpg, "--kill", "all"], check=False)

    def test_bad_credentials(self):
        w = self.world
        good = (w.package / "credentials.csv").read_text()
        exchanged = good.replace(w.facts["access_key_id"], "@").replace(w.facts["secret_access_key"], w.facts["access_key_id"])
        exchanged = exchanged.replace("@", w.facts["secret_access_key"])
        for name, text, said in (("exchanged", exchanged, "exchanged?"), ("columns", "User,Password\na,b\n", "Access Key Id"),
                                 ("unknown", (w.package / "credentials.csv").read_text().replace("AKIA", "AKIB"), "403")):
            path = w.folder / name
            path.write_text(text)
            self.assertIn(said, self.ctl("import-credentials", path, code=3).err, name)
            self.assertFalse((w.folder / "credentials").exists())
        # what is advised is not what has just been done
        for name, text, said in (("secret", good.replace(w.facts["secret_access_key"][-3:], ""), "whole and unchanged"),
                                 ("unknown", good.replace("AKIA", "AKIB"), "newest key that edX sent"),
                                 ("temporary", good.replace("AKIA", "ASIA"), "a temporary key"),
                                 ("mail", "Content-Type: text/plain\n\n" + good, "a whole mail")):
            path = w.folder / name
            path.write_text(text)
            answer = self.ctl("import-credentials", path, code=3)
            self.assertIn(said, answer.err)
            self.assertNotIn("czarctl import-credentials", answer.err)
        self.ctl("import-credentials", w.folder / "unknown", "--force")
        self.assertTrue((w.folder / "credentials").exists())

    def test_credentials_as_people_save_them(self):
        """By a spreadsheet, by an editor, as a mail with the message in it."""
        w = self.world
        good = (w.package / "credentials.csv").read_text()
        stored = w.folder / "credentials"
        w.config["openpgp"] = {"homedir": w.package / "gnupg"}
        fpr = w.facts["fingerprint"] if "fingerprint" in w.facts else None
        run = ["gpg", "--homedir", w.package / "gnupg", "--batch", "--quiet", "--lock-never", "--trust-model", "always"]
        if not fpr:
            listed = subprocess.run([*run, "--with-colons", "--list-secret-keys"], capture_output=True, text=True, check=True)
            fpr = next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr"))
        armored = subprocess.run([*run, "--armor", "-r", fpr, "--encrypt"], input=good.encode(), capture_output=True,
                                 check=True).stdout
        quoted = b"".join(b"> " + line for line in armored.splitlines(keepends=True))
        mail = b"Dear data czar,\n\nhere are your keys.\n\n" + armored + b"\nBest regards\n"
        for name, data in (("utf16", good.encode("utf-16")), ("semicolons", good.replace(",", ";").encode()),
                           ("tabs", good.replace(",", "\t").encode()), ("armored", armored), ("mail", mail),
                           ("quoted", b"You wrote:\n" + quoted),
                           ("mark", b"\xef\xbb\xbf" + armored), ("armored-utf16", armored.decode().encode("utf-16"))):
            with self.subTest(name):
                path = w.folder / name
                path.write_bytes(data)
                self.assertIn("listing works", self.ctl("import-credentials", path).out)
                self.assertTrue(stored.exists())
                stored.unlink()
        header, values = good.splitlines()[:2]
        path = w.folder / "comma"
        path.write_text(f"{header}\nDoe, J,{values.split(',', 1)[1]}\n")
        said = self.ctl("import-credentials", path, code=3).err
        self.assertIn("must stand in quotes", said)
        self.assertFalse(stored.exists())

    def test_import_key(self):
        w = self.world
        secret = w.folder / "secret.asc"
        secret.write_bytes(subprocess.run(["gpg", "--homedir", w.package / "gnupg", "--batch", "--armor",
                                           "--export-secret-keys"], capture_output=True, check=True).stdout)
        public = w.folder / "public.asc"
        public.write_bytes(subprocess.run(["gpg", "--homedir", w.package / "gnupg", "--batch", "--armor", "--export"],
                                          capture_output=True, check=True).stdout)
        w.config["openpgp"] = {"homedir": w.folder / "home"}
        self.assertIn("no secret key", self.ctl("import-key", public, code=3).err)
        self.assertIn("can be used", self.ctl("import-key", secret, "--batch").out)
        w.config["s3"]["credentials"] = w.package / "credentials.csv"
        self.assertEqual(w.once().code, 0)


class SpeedTest(Base):
    """status, plan --offline, gaps and metrics with 20,000 objects."""

    @unittest.skipIf(is_sanitized(), "sanitizers change the speed")
    def test_twenty_thousand(self):
        w = self.world
        self.assertEqual(w.once().code, 0)
        db = sqlite3.connect(w.state / "ledger.db")
        # rows of one site, years back: the site "old" is ours in a copy of the configuration
        db.execute("""
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
            INSERT INTO object (bucket, key, etag, size, last_modified, category, org, site, date, request, is_zip, state, path,
                plain_size, sha256, checks, fingerprint, staged_etag, cause, detail, attempts, next_try, first_seen, published_at)
            SELECT bucket, 'universityx/old/events/' || i, etag, size, last_modified, category, org, 'old',
                date('2024-01-01', '-' || (i % 5000) || ' days'), '', 0, state, 'x' || i, plain_size, sha256, checks, fingerprint,
                staged_etag, cause, detail, attempts, next_try, first_seen, published_at
            FROM n, (SELECT * FROM object WHERE category = 0 LIMIT 1)""")
        db.commit()
        db.close()
        for args, limit in ((["status"], 0.1), (["plan"], 1.0), (["metrics"], 0.1), (["gaps"], 0.1)):
            times = [self.seconds(*args) for _ in range(5)]
            print(f"czarctl {args[0]}: {min(t[0] for t in times) * 1000:.0f} ms, processor {min(t[1] for t in times) * 1000:.0f} ms")
            self.assertLess(min(t[1] for t in times), 2 * limit, args)  # on a machine half as fast as ours

    def seconds(self, *args):
        """As on the clock, and of processor: that does not depend on what else the machine does."""
        began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self.ctl(*args, code=1 if args == ("status",) else 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.monotonic() - began, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


if __name__ == "__main__":
    unittest.main()
