#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czard --once, the whole job: from the stand-in over TLS to verified plaintext, byte for byte; then once more."""

import contextlib
import grp
import gzip
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import unittest

from czardtest import main
from czardtest.run import World, check_sums, fingerprint, program, tree
from czardtest.s3d import S3d


class OnceTest(unittest.TestCase):
    """One package, one first run and one second run, looked at from all sides."""

    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        cls.world = w = cls.enterClassContext(World())
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts, w.certificate))
        w.use(cls.s3.endpoint)
        cls.first = w.once()
        cls.first_requests = cls.s3.requests()
        cls.before = fingerprint(w.staging)
        cls.s3.forget_requests()
        cls.second = w.once()
        cls.second_requests = cls.s3.requests()

    def test_exit_status(self):
        self.assertEqual(self.first.code, 0, self.first)

    def test_tree_byte_for_byte(self):
        self.assertEqual(self.world.differences(), [], self.first)

    def test_root(self):
        root = os.stat(self.world.staging)
        self.assertEqual(stat.S_IMODE(root.st_mode), 0o750)
        self.assertRegex((self.world.staging / ".czard-id").read_text(), r"^[0-9a-f]{32}\n?$")

    def test_sums(self):
        for below in ("database", "email-opt-in"):
            for folder in (self.world.staging / self.world.org / below).iterdir():
                self.assertEqual(check_sums(folder)[0], 0, folder)

    def test_latest(self):
        org = self.world.staging / self.world.org
        self.assertEqual(os.readlink(org / "database/latest"), "2024-07-07")
        self.assertEqual(os.readlink(org / "email-opt-in/latest"), "2024-07-06")

    def test_only_what_the_policy_allows(self):
        refused = [r for r in self.first_requests if r.status >= 400]
        self.assertEqual(refused, [])
        self.assertEqual({r.op for r in self.first_requests} - {"list", "get", "head"}, set())

    def test_neighbours_are_not_asked_for(self):
        ours = {(o["bucket"], o["key"]) for o in self.world.facts["objects"]}
        asked = {(r.bucket, r.key) for r in self.first_requests if r.op != "list"}
        self.assertEqual(asked - ours, set())

    def test_every_get_names_the_listed_version(self):
        gets = [r for r in self.first_requests if r.op == "get"]
        self.assertTrue(gets)
        self.assertEqual([r for r in gets if "if_match" not in r.more], [])

    def test_lists_are_for_our_prefixes(self):
        prefixes = {(r.bucket, r.key) for r in self.first_requests if r.op == "list"}
        allowed = ("universityx/edx/events/", "universityx/edge/events/", "universityx/rdx/")
        for bucket, prefix in prefixes:
            if bucket == "edx-course-data":
                self.assertTrue(prefix.startswith(allowed), prefix)
            else:
                self.assertTrue(prefix.startswith(("universityx-", "email-opt-in/")), prefix)

    def test_second_run_fetches_nothing(self):
        self.assertEqual(self.second.code, 0, self.second)
        self.assertEqual([r for r in self.second_requests if r.op != "list"], [])
        self.assertTrue(self.second_requests, "the second run did not even list")

    def test_second_run_changes_nothing(self):
        self.assertEqual(fingerprint(self.world.staging), self.before)

    def test_ledger(self):
        ours = {(o["bucket"], o["key"]) for o in self.world.facts["objects"] if not o.get("superseded")}
        published = [o for o in self.world.objects().values() if o["state"] == "PUBLISHED"]
        self.assertEqual({(o["bucket"], o["key"]) for o in published}, ours)
        for o in self.world.facts["objects"]:
            row = self.world.objects()[o["key"]]
            self.assertEqual(row["size"], o["size"])
            if "sha256" in o:
                self.assertEqual((row["path"], row["sha256"].hex(), row["plain_size"]),
                                 (o["path"], o["sha256"], o["plain_size"]))

    def test_ledger_of_members(self):
        for o in self.world.facts["objects"]:
            if not o.get("members"):
                continue
            rows = {m["path"]: m for m in self.world.members(o["key"]).values()}
            self.assertEqual(set(rows), {m["path"] for m in o["members"]}, o["key"])
            for m in o["members"]:
                row = rows[m["path"]]
                self.assertEqual((row["state"], row["sha256"].hex(), row["plain_size"], bool(row["failed"])),
                                 ("PUBLISHED", m["sha256"], m["plain_size"], m["failed"]), m["path"])

    def test_audit_chain(self):
        lines, _ = self.world.audit()
        self.assertEqual(lines[0]["event"], "start")
        self.assertEqual([line["event"] for line in lines if line["event"] in ("start", "stop")], ["start", "stop"] * 2)
        said = json.dumps(lines)
        for o in self.world.facts["objects"]:
            if "sha256" in o:
                self.assertIn(o["sha256"], said, o["key"])
                self.assertIn(o["path"], said)
        self.assertIn(self.world.facts["fingerprint"], said)

    def test_audit_head_is_in_the_journal(self):
        _, head = self.world.audit()
        # All but what is said before the record is open, and what the helpers say, who do not know it.
        entries = self.second.entries[self.second.entries.index(self.second.events("started")[0]) + 1:]
        self.assertIn("poll-done", [e.event for e in entries])
        without = [e for e in entries if e.event and not re.fullmatch("[0-9a-f]{64}", e.fields.get("CZARD_AUDIT_HEAD", ""))]
        self.assertEqual(without, [])
        self.assertEqual(entries[-1].fields["CZARD_AUDIT_HEAD"], head)

    def test_form_on_stderr(self):
        """LEVEL MESSAGE NAME=VALUE …, with no name of a program between."""
        self.assertRegex(self.second.stderr, r"\Anotice czard \S+ started CZARD_EVENT=started\n")

    def test_journal(self):
        names = [e.event for e in self.first.entries]
        for name in ("started", "ready", "poll-done", "stopping", "stopped"):
            self.assertIn(name, names)
        published = {e.fields.get("CZARD_OBJECT"): e for e in self.first.events("published") if "CZARD_MEMBER" not in e.fields}
        for o in self.world.facts["objects"]:
            if o.get("superseded"):
                continue
            self.assertIn(o["key"], published)
            fields = published[o["key"]].fields
            self.assertEqual(fields["CZARD_BUCKET"], o["bucket"])
            self.assertEqual(fields["CZARD_CATEGORY"], o["category"])
            self.assertEqual(fields["CZARD_ORG"], self.world.org)
            self.assertEqual(fields["CZARD_SIZE"], str(o["size"]))
            if "sha256" in o:
                self.assertEqual(fields["CZARD_SHA256"], o["sha256"])
        self.assertEqual(self.second.events("published"), [])

    def test_failed_member_is_a_warning(self):
        warned = self.first.events("member-failed-at-source")
        self.assertTrue(warned, self.first)
        self.assertEqual({e.level for e in warned}, {"warning"})
        self.assertEqual({e.fields["CZARD_TABLE"] for e in warned}, {"wiki_article"})
        self.assertEqual({e.fields["CZARD_COURSE"] for e in warned}, {"UniversityX-CS50.1x-2023_T1"})

    def test_no_secret_anywhere(self):
        said = self.first.stderr + self.second.stderr + (self.world.state / "audit.jsonl").read_text()
        for secret in (self.world.facts["secret_access_key"], "Signature=", "Authorization", "@mail.example"):
            self.assertNotIn(secret, said)

    def test_state_folder(self):
        names = set(os.listdir(self.world.state))
        self.assertLessEqual({"ledger.db", "audit.jsonl", "lock"}, names)
        for name in names:
            mode = stat.S_IMODE(os.stat(self.world.state / name).st_mode)
            self.assertEqual(mode & 0o007, 0, f"{name} {mode:o}")

    def test_nothing_is_left_in_the_runtime_folder(self):
        self.assertEqual(list(self.world.run_folder.iterdir()), [])


class NoDeduplicationTest(unittest.TestCase):
    def test_every_file_has_the_time_of_its_object(self):
        with World(with_tls=False, days=0, weeks=3, courses=2, rdx=0) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            w.config["staging"]["deduplicate"] = "no"
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual(w.differences(), [])
            self.assertEqual({s.st_nlink for s in tree(w.staging).values() if stat.S_ISREG(s.st_mode)}, {1})


@unittest.skipIf(os.geteuid() != 0, "only root gives files to any group, and becomes another user")
class GroupsTest(unittest.TestCase):
    GROUPS = {"events_group": "mail", "database_group": "games", "group": "daemon"}

    def reads(self, folder, group):
        """The categories of which a user of only that group can read a file. folder: the organisation's."""
        out = set()
        for category in ("events", "database", "email-opt-in", "rdx"):
            file = next(p for p in sorted((folder / category).rglob("*")) if p.is_file()).relative_to(folder)
            done = subprocess.run(["setpriv", "--reuid=4242", f"--regid={grp.getgrnam(group).gr_gid}", "--clear-groups", "cat", file],
                                  cwd=folder, capture_output=True, check=False)
            if done.returncode == 0:
                out.add(category)
        return out

    def check(self, w):
        done = subprocess.run([program("czarctl"), "--config", w.ini(), "--json", "check"], capture_output=True, text=True,
                              env=w.environment(), check=False)
        return [c for c in json.loads(done.stdout)["checks"] if c["name"] == "group" and "get through" in c["detail"]]

    def test_a_group_of_one_category(self):
        with World(with_tls=False, days=1, weeks=1, courses=1) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            w.config["staging"].update(self.GROUPS)
            os.chown(w.staging, 0, grp.getgrnam("daemon").gr_gid)
            w.folder.chmod(0o755)
            done = w.once()
            self.assertEqual(done.code, 0, done)
            folder = w.staging / w.org
            self.assertEqual(w.differences(), [])
            # The root was there: that the other groups get through it is the admin's, and is said.
            self.assertEqual({c["detail"].split()[3] for c in self.check(w)}, {"mail", "games"})
            self.assertEqual({c["detail"].split()[-1] for c in self.check(w)}, {str(w.staging)})
            if not os.listxattr(folder):
                self.skipTest("no access lists on this file system")
            self.assertEqual(self.reads(folder, "mail"), {"events"})
            self.assertEqual(self.reads(folder, "games"), {"database"})
            self.assertEqual(self.reads(folder, "daemon"), {"email-opt-in", "rdx"})
            self.assertEqual(self.reads(folder, "uucp"), set())
            if shutil.which("setfacl"):
                for c in self.check(w):
                    subprocess.run(["sh", "-c", c["fix"]], check=True)
                self.assertEqual(self.check(w), [])


class AuditTest(unittest.TestCase):
    def verify(self, w):
        return subprocess.run([program("czarctl"), "--config", str(w.ini()), "verify", "--audit"], env=w.environment(),
                              capture_output=True, text=True)

    def test_a_cut_tail_is_found(self):
        with World(with_tls=False, days=1, weeks=1, courses=1, rdx=0) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            self.assertEqual(w.once().code, 0)
            whole = (w.state / "audit.jsonl").read_bytes()
            self.assertEqual(self.verify(w).returncode, 0)
            # half a line that nobody was told of, as a crash leaves it
            (w.state / "audit.jsonl").write_bytes(whole + b'{"time":"2024-')
            self.assertEqual(self.verify(w).returncode, 0)
            done = w.once()
            self.assertEqual((done.code, done.events("audit-cut")), (0, []), done)
            whole = (w.state / "audit.jsonl").read_bytes()
            for cut in (whole[:-1], whole[:whole[:-1].rindex(b"\n") + 1], whole[:-400], b""):
                (w.state / "audit.jsonl").write_bytes(cut)
                said = self.verify(w)
                self.assertEqual(said.returncode, 1, said)
                self.assertIn("cut off", said.stdout)
            done = w.once()
            self.assertEqual(len(done.events("audit-cut")), 1, done)
            self.assertEqual(done.events("audit-cut")[0].level, "err")
            said = self.verify(w)
            self.assertEqual(said.returncode, 1, said)
            self.assertEqual(w.once().events("audit-cut"), [])

    def test_a_record_that_was_moved_away_is_continued(self):
        with World(with_tls=False, days=1, weeks=1, courses=1, rdx=0) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            self.assertEqual(w.once().code, 0)
            before = w.objects()
            (w.state / "audit.jsonl").rename(w.state / "audit-2024.jsonl")
            done = w.once()
            self.assertEqual((done.code, done.events("audit-cut")), (0, []), done)
            said = self.verify(w)
            self.assertEqual(said.returncode, 0, said)
            # a lost ledger is rebuilt from both
            for f in w.state.glob("ledger.db*"):
                f.unlink()
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual({k: o["state"] for k, o in w.objects().items()}, {k: o["state"] for k, o in before.items()})
            self.assertEqual(done.events("published"), [])


class PassphraseTest(unittest.TestCase):
    def test_key_with_a_passphrase(self):
        secret = "corréct horse; battery # staple"
        with World(with_tls=False, passphrase=secret, days=2, weeks=1, courses=1) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual(w.differences(), [])
            self.assertNotIn(secret, done.stderr)


class ExpiredKeyTest(unittest.TestCase):
    def test_expired_key_still_decrypts_with_a_warning(self):
        with World(with_tls=False, days=2, weeks=1, courses=1, key_expired=True) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual(w.differences(), [])
            self.assertTrue([e for e in done.entries if e.level == "warning" and "expired" in e.message], done)


class PlainEventsTest(unittest.TestCase):
    def test_events_format_plain(self):
        with World(with_tls=False, days=3, weeks=0, rdx=0, courses=0) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            w.config["staging"]["events_format"] = "plain"
            done = w.once()
            self.assertEqual(done.code, 0, done)
            for o in w.facts["objects"]:
                plain = gzip.decompress((w.package / "expected" / o["path"]).read_bytes())
                self.assertEqual((w.staging / o["path"][:-len(".gz")]).read_bytes(), plain)


    def test_a_replaced_version_is_kept_also_when_the_format_changed(self):
        with World(with_tls=False, days=2, weeks=0, rdx=0, courses=0, sites="edx") as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            self.assertEqual(w.once().code, 0)
            changed, other = w.facts["objects"][:2]
            old = (w.staging / changed["path"]).read_bytes()
            bucket = w.package / "buckets" / changed["bucket"]
            etag = hashlib.md5((bucket / changed["key"]).read_bytes()).hexdigest()
            shutil.copy(bucket / other["key"], bucket / changed["key"])

            w.config["staging"]["events_format"] = "plain"
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertFalse((w.staging / changed["path"]).exists())
            self.assertEqual((w.staging / changed["path"][:-len(".gz")]).read_bytes(),
                             gzip.decompress((w.package / "expected" / other["path"]).read_bytes()))
            (kept,) = (w.staging / changed["path"]).parent.glob(".replaced/*")
            self.assertEqual(kept.name, f"{changed['date']}-{etag}")
            self.assertEqual(kept.read_bytes(), old)


class LeftoverTest(unittest.TestCase):
    def warnings(self, done, path):
        return [e for e in done.entries if e.level == "warning" and e.fields.get("CZARD_PATH") == path]

    def test_what_cannot_be_removed_under_its_old_path_is_said_and_removed_later(self):
        with World(with_tls=False, days=2, weeks=0, rdx=0, courses=0, sites="edx") as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            self.assertEqual(w.once().code, 0)
            changed, other = w.facts["objects"][:2]
            org = changed["path"].split("/", 1)[0]
            folder, aside = w.staging / org / "old", w.folder / "aside"
            aside.mkdir()
            (w.staging / changed["path"]).rename(aside / "a.log.gz")
            with contextlib.closing(sqlite3.connect(w.state / "ledger.db")) as db, db:
                db.execute("UPDATE object SET path = ? WHERE key = ?", (f"{org}/old/a.log.gz", changed["key"]))
            folder.write_text("in the way")
            bucket = w.package / "buckets" / changed["bucket"]
            shutil.copy(bucket / other["key"], bucket / changed["key"])

            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual((w.staging / changed["path"]).read_bytes(), (w.package / "expected" / other["path"]).read_bytes())
            self.assertEqual(len(self.warnings(done, f"{org}/old/a.log.gz")), 1, done)
            self.assertEqual(self.warnings(done, f"{org}/old/a.log.gz")[0].fields["CZARD_CAUSE"], "unsafe-mode", done)

            done = w.once()  # still in the way
            self.assertEqual(len(self.warnings(done, f"{org}/old/a.log.gz")), 1, done)

            folder.unlink()
            shutil.copytree(aside, folder)
            folder.chmod(0o750)
            done = w.once()
            self.assertEqual(done.code, 0, done)
            self.assertEqual(self.warnings(done, f"{org}/old/a.log.gz"), [], done)
            self.assertFalse((folder / "a.log.gz").exists())
            (kept,) = (folder / ".replaced").iterdir()
            self.assertEqual(kept.read_bytes(), (aside / "a.log.gz").read_bytes())
            self.assertEqual((w.staging / changed["path"]).read_bytes(), (w.package / "expected" / other["path"]).read_bytes())


if __name__ == "__main__":
    main()
