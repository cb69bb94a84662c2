#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deliveries, from the staged tree to the outbox: what a recipient can decrypt with nothing but the own key, against
what the staged tree has of what is listed; over replaced, forgotten and pruned inputs, dates, keys and faults."""

import collections
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

from czardtest import disk_fault, main
from czardtest.run import program
from czardtest.served import Served

PEOPLE = ("auth_", "certificates_", "ora/", "forum", "email_opt_in")


def gpg(home, *args, **kwargs):
    done = subprocess.run(["gpg", "--homedir", home, "--batch", "--no-tty", "--quiet", "--trust-model", "always",
                           "--pinentry-mode", "loopback", "--passphrase", "", *args], capture_output=True, check=False, **kwargs)
    if done.returncode:
        raise RuntimeError(f"gpg {args}: {done.stderr.decode()}")
    return done.stdout


class Recipient:
    """A researcher, with a GnuPG home of the own."""

    def __init__(self, name, expires="never", encrypts=True, faked=None):
        self.home, self.name = tempfile.mkdtemp(prefix="czk.", dir="/tmp"), name
        past = ["--faked-system-time", f"{faked}!"] if faked else []
        gpg(self.home, *past, "--quick-gen-key", f"{name}@uni.example", "ed25519", "sign", expires)
        listing = gpg(self.home, "--with-colons", "--list-keys").decode()
        self.fingerprint = re.search(r"^fpr:::::::::(\w+):", listing, re.M).group(1)
        if encrypts:
            gpg(self.home, *past, "--quick-add-key", self.fingerprint, "cv25519", "encrypt", expires)

    def export(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / f"{self.name}.asc").write_bytes(gpg(self.home, "--armor", "--export", self.fingerprint))

    def decrypt(self, path):
        return gpg(self.home, "--decrypt", str(path))

    def packets(self, path):
        return gpg(self.home, "--list-packets", str(path)).decode()

    def revoke(self, what="key"):
        """The key, or its encryption subkey."""
        if what == "key":
            text = Path(self.home, "openpgp-revocs.d", f"{self.fingerprint}.rev").read_text()
            gpg(self.home, "--import", input=text.replace(":-----BEGIN", "-----BEGIN").encode())
        else:
            gpg(self.home, "--command-fd", "0", "--yes", "--edit-key", self.fingerprint, "key 1", "revkey", "save",
                input=b"y\n0\n\ny\n")

    def done(self):
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "gpg-agent"], capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def tar_files(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: (tar.extractfile(m).read(), m.mtime) for m in tar.getmembers()}


class Deliveries(Served):
    package = {"days": 3, "weeks": 2, "courses": 3, "sites": "edx"}

    @classmethod
    def setUpClass(cls):
        cls.recipients = [Recipient("ada"), Recipient("bob")]
        for r in cls.recipients:
            cls.addClassCleanup(r.done)

    def setUp(self):
        super().setUp()
        self.w.package_section["events_by_course"] = "edx"
        self.outbox, self.state = self.w.folder / "out", Path(f"{self.w.state}-deliver")
        self.keys = self.w.folder / "recipients.d"
        for r in self.recipients:
            r.export(self.keys)
        self.once()
        folders = sorted((self.w.staging / self.w.org / "database").glob("2*"))
        self.newest, self.older = folders[-1], folders[0]
        days = sorted((self.w.staging / self.w.org / "events-by-course" / "edx").glob("*/*"))
        self.days = days
        keys = {json.loads(line).get("course") for d in days for line in (d / "MANIFEST.jsonl").read_text().splitlines()}
        self.key = sorted(k for k in keys if k)[0]
        self.form = self.key.partition(":")[2].replace("+", "-")
        self.name = re.sub(r"[^\w.\-]", "_", self.key.partition(":")[2])
        self.add("study")

    def add(self, name, outbox=None, **values):
        outbox = outbox or self.outbox
        if not outbox.exists():
            outbox.mkdir(mode=0o750)
        self.w.config[f"deliver {name}"] = {
            "org": self.w.org, "purpose": "IRB 2026-113, agreement of 2026-05-04", "until": "2099-01-01",
            "recipients": self.recipients[0].fingerprint, "courses": self.form,
            "tables": "events student_* courseware_studentmodule auth_user", "path": outbox, **values}
        return self.w.config[f"deliver {name}"]

    def day_object(self, day):
        """The object in the bucket of that day's events."""
        for o in self.w.facts["objects"]:
            if o["category"] == "events" and f"-{day.name}." in o["key"]:
                return o, self.w.package / "buckets" / o["bucket"] / o["key"]
        raise LookupError(day)

    def run_(self, *args, code=0, wrapper=(), **kwargs):
        done = subprocess.run([*map(str, wrapper), str(program("czard-deliver")), "--config", str(self.w.ini()), "--once", *args],
                              env={**self.w.environment(), **kwargs.pop("env", {})}, capture_output=True, text=True, timeout=600,
                              **kwargs)
        if code is not None:
            self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def ctl(self, *args, code=0):
        done = subprocess.run([program("czarctl"), "--config", str(self.w.ini()), *args], env=self.w.environment(),
                              capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, code, done)
        return done.stdout

    def wait_for(self, what, seconds=300):
        end = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def audit(self, event=None):
        whole = (self.state / "audit.jsonl").read_text().split("\n")[:-1]  # a unit may be writing the last one
        return [line for line in map(json.loads, whole) if event in (None, line["event"])]

    def files(self, outbox=None):
        outbox = outbox or self.outbox
        # os.walk does not mind a folder that goes while it is looked at
        found = (os.path.join(folder, f) for folder, _, files in os.walk(outbox) for f in files if f != ".czard-id")
        return sorted(os.path.relpath(f, outbox) for f in found)

    def messages(self, outbox=None):
        return [f for f in self.files(outbox) if f.endswith(".gpg")]

    def want_members(self, folder, form, tables):
        """The members of that course and these tables, by their names alone."""
        found = {}
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if not path.is_file() or name in ("SHA256SUMS", "MANIFEST.jsonl", "REJECTED") or path.name.endswith(".failed"):
                continue
            base = path.name
            for table in tables:
                stem = table.rpartition("/")[2]
                if (re.fullmatch(rf"{re.escape(form)}-{stem.replace('*', '[a-z_]*')}-(prod|edge|prod-edge)-analytics\..*", base)
                        and name.startswith("ora/") == table.startswith("ora/")):
                    found[name] = path.read_bytes()
        return found

    def check_follow(self, recipient, days=None, form=None, name=None, tables=("student_[a-z_]*", "courseware_studentmodule",
                                                                              "auth_user"), revisions=()):
        """The outbox is exactly the listed course's days and the newest snapshot's members."""
        form, name = form or self.form, name or self.name
        want = {}
        for day in self.days if days is None else days:
            file = day / f"{name}.log.gz"
            if file.exists():
                want[f"{name}/events/edx/{day.name}.log.gz.gpg"] = file.read_bytes()
        members = self.want_members(self.newest, form, tables)
        for path, plain in want.items():
            self.assertEqual(recipient.decrypt(self.outbox / path), plain, path)
        state = f"{name}/state/{self.newest.name}.tar.gpg"
        got = tar_files(recipient.decrypt(self.outbox / state))
        sums = got.pop("SHA256SUMS")[0].decode()
        self.assertEqual({k: v[0] for k, v in got.items()}, members)
        self.assertEqual(sums, "".join(f"{digest(v)}  {k}\n" for k, v in sorted(members.items())))
        for member, (_, mtime) in got.items():
            self.assertEqual(mtime, int((self.newest / member).stat().st_mtime))
        self.assertEqual(self.messages(), sorted([*want, state]))
        self.check_described()

    def check_described(self):
        manifest = [json.loads(line) for line in (self.outbox / "MANIFEST.jsonl").read_text().splitlines()]
        self.assertEqual(sorted(m["path"] for m in manifest), self.messages())
        for m in manifest:
            self.assertEqual(digest((self.outbox / m["path"]).read_bytes()), m["sha256"])
            for i in m["inputs"]:
                self.assertEqual(digest((self.w.staging / i["path"]).read_bytes()), i["sha256"])
        for path in self.outbox.rglob("*"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o7, 0, path)


class Deliver(Deliveries):
    def test_follow(self):
        ada, bob = self.recipients
        err = self.run_()
        self.assertIn("CZARD_EVENT=delivered", err)
        self.check_follow(ada)
        with self.assertRaises(RuntimeError):
            bob.decrypt(self.outbox / self.messages()[0])
        packets = ada.packets(self.outbox / self.messages()[0])
        self.assertEqual(packets.count(":pubkey enc packet:"), 1)
        self.assertIn("mdc_method: 2", packets)
        for message in self.messages():  # MDC, and AES-256
            status = gpg(ada.home, "--status-fd", "1", "--output", "/dev/null", "--yes", "--decrypt", str(self.outbox / message))
            self.assertRegex(status.decode(), r"DECRYPTION_INFO 2 9\b")
        readme = (self.outbox / "README").read_text()
        for said in ("IRB 2026-113", "2099-01-01", ada.fingerprint):
            self.assertIn(said, readme)
        before = {f: (self.outbox / f).stat().st_mtime_ns for f in self.files()}
        lines = len(self.audit())
        self.run_()
        self.assertEqual({f: (self.outbox / f).stat().st_mtime_ns for f in self.files()}, before)
        self.assertEqual(len(self.audit()), lines)

    def test_patterns_and_keys(self):
        """People's tables in no pattern; a full key; events only where they are listed; dates."""
        self.w.config["deliver study"].update(courses=self.key, tables="*", dates=f"..{self.older.name}")
        self.newest = self.older
        self.run_()
        state = f"{self.name}/state/{self.older.name}.tar.gpg"
        self.assertEqual(self.messages(), [state])
        got = tar_files(self.recipients[0].decrypt(self.outbox / state))
        self.assertTrue(any("student_courseenrollment" in name for name in got))
        for name in got:
            for people in PEOPLE:
                self.assertNotIn(f"-{people}", name)
            self.assertFalse(name.startswith("ora/") or name.endswith(".mongo"), name)

    def test_opt_in_list(self):
        """By its name, with all courses; never by a pattern."""
        lists = self.w.staging / self.w.org / "email-opt-in"
        date = sorted(p.name for p in lists.glob("2*"))[-1]
        want = {p.name: p.read_bytes() for p in (lists / date).glob("*.csv")}
        self.assertEqual(len(want), 1)
        self.w.config["deliver study"].update(courses="*", tables="*")
        self.run_()
        self.assertNotIn("opt-in", " ".join(self.messages()))
        self.w.config["deliver study"].update(tables="email_opt_in")
        self.assertEqual(json.loads(self.ctl("--json", "deliver", "plan"))["deliveries"][0]["match_nothing"], [])
        self.run_()
        self.assertEqual(self.messages(), [f"email-opt-in/state/{date}.tar.gpg"])
        got = tar_files(self.recipients[0].decrypt(self.outbox / self.messages()[0]))
        got.pop("SHA256SUMS")
        self.assertEqual({name: data for name, (data, _) in got.items()}, want)
        self.check_described()
        self.add("archive", self.w.folder / "archive", courses="*", tables="email_opt_in", mode="once")
        self.run_("archive")
        self.assertEqual(self.messages(self.w.folder / "archive"), ["email-opt-in.tar.gz.gpg"])
        self.add("few", self.w.folder / "few", tables="email_opt_in")
        self.assertIn("one list of all courses", self.run_("few", code=2))

    def test_once(self):
        """One archive a course in the layout of RDX, and done."""
        self.w.config["deliver study"].update(mode="once", courses="*", tables="events auth_user", recipients=" ".join(
            r.fingerprint for r in self.recipients))
        self.run_()
        names = {m.removesuffix(".tar.gz.gpg") for m in self.messages()}
        self.assertIn(self.name, names)
        for r in self.recipients:
            got = tar_files(gzip.decompress(r.decrypt(self.outbox / f"{self.name}.tar.gz.gpg")))
            json.loads(got.pop("metadata_file.json")[0])
            want = {f"events/{self.w.org}-edx-events-{d.name}.log.gz": (d / f"{self.name}.log.gz").read_bytes() for d in self.days}
            want |= {f"state/{self.newest.name}/{k}": v
                     for k, v in self.want_members(self.newest, self.form, ["auth_user"]).items()}
            self.assertEqual({k: v[0] for k, v in got.items()}, want)
        self.check_described()
        before = self.messages()
        self.run_()
        self.assertEqual(self.messages(), before)


    def test_once_while_days_come(self):
        """What the first archive was made without is told, and is in the one that is asked for."""
        late, aside = self.day_object(self.days[0])[1], self.w.folder / "late"
        self.w.fresh()
        self.state = Path(f"{self.w.state}-deliver")
        self.w.package_section["events_by_course"] = "edx"
        self.add("study", mode="once", tables="events", dates="2024-01-01..2024-12-31")
        shutil.move(late, aside)
        self.once()
        self.run_()
        self.ctl("check")
        shutil.move(aside, late)
        self.once()
        self.run_()
        self.assertEqual(self.messages(), [f"{self.name}.tar.gz.gpg"])
        self.assertIn("1 days came after the archives were made: czarctl deliver run --again study", self.ctl("deliver", "plan"))
        for command in ("status", "check"):
            shown = self.ctl(command, code=1)
            self.assertIn("delivery study: 1 days within its dates came after the archives were made", shown)
            self.assertIn("czarctl deliver run --again study\n", shown)
        self.run_("--again", "study")
        self.assertEqual(self.messages(), [f"{self.name}-r2.tar.gz.gpg"])
        got = tar_files(gzip.decompress(self.recipients[0].decrypt(self.outbox / self.messages()[0])))
        self.assertEqual(sorted(n for n in got if n.startswith("events/")),
                         [f"events/{self.w.org}-edx-events-{d.name}.log.gz" for d in self.days])
        self.ctl("check")
        self.run_("--again")
        self.assertEqual(self.messages(), [f"{self.name}-r2.tar.gz.gpg"])

    def test_once_waits_for_days_that_are_not_split(self):
        """They are staged, and czard is about to split them: the archive has them, or is asked for without."""
        def inputs(message):
            files = tar_files(gzip.decompress(self.recipients[0].decrypt(self.outbox / message)))
            return [n for n in files if n.startswith("events/")]

        self.w.config["deliver study"]["mode"] = "once"
        self.add("rest", self.w.folder / "rest", mode="once", tables="student_*")
        self.add("past", self.w.folder / "past", mode="once", tables="events", dates=f"{self.days[1].name}..")
        self.add("follow", self.w.folder / "follow", tables="events")
        aside, waits = self.w.folder / "aside", "an archive is made once, and waits"
        self.days[0].rename(aside)
        (self.w.staging / "universityx/events/README").write_text("no site")
        self.assertIn(waits, self.ctl("deliver", "plan", "study"))
        self.assertRegex(self.ctl("status", code=1), f"delivery study: {waits}")
        self.assertIn(f"delivery study stands still: {waits}", self.run_(code=1))
        self.assertRegex(self.ctl("check", code=1), f"delivery study stands still: {waits}")
        self.assertEqual(self.messages(), [])
        for name in ("rest", "past", "follow"):  # which it does not concern
            self.assertTrue(self.messages(self.w.folder / name), name)
            self.assertNotIn(waits, self.ctl("deliver", "plan", name))
        aside.rename(self.days[0])
        self.assertIn("delivery study goes on", self.run_())
        self.assertEqual(len(inputs(f"{self.name}.tar.gz.gpg")), len(self.days))
        # who does not want to wait
        self.days[0].rename(aside)
        self.add("asked", self.outbox.with_name("asked"), mode="once", tables="events")
        self.run_("asked", code=1)
        self.outbox = self.outbox.with_name("asked")
        self.assertEqual(self.messages(), [])
        self.run_("--again", "asked")
        self.assertEqual(len(inputs(f"{self.name}.tar.gz.gpg")), len(self.days) - 1)



class Life(Deliveries):
    """What becomes of what was delivered."""

    def test_replaced_and_forgotten(self):
        self.run_()
        first, second = self.days[0], self.days[1]
        # the day is written anew with what another one had
        shutil.copy(self.day_object(second)[1], self.day_object(first)[1])
        self.once()
        self.run_()
        old, new = (f"{self.name}/events/edx/{first.name}{r}.log.gz.gpg" for r in ("", "-r2"))
        self.assertNotIn(old, self.messages())
        self.assertEqual(self.recipients[0].decrypt(self.outbox / new), (first / f"{self.name}.log.gz").read_bytes())
        manifest = {m["path"]: m for m in map(json.loads, (self.outbox / "MANIFEST.jsonl").read_text().splitlines())}
        self.assertEqual(manifest[new]["supersedes"], old)
        self.check_described()
        # and forgotten
        self.ctl("forget", f"*{first.name}.log.gz.gpg", "--reason", "request 17")
        err = self.run_()
        self.assertIn("CZARD_EVENT=please-destroy", err)
        self.assertNotIn(new, self.messages())
        readme = (self.outbox / "README").read_text()
        self.assertIn(f"{new} (removed)", readme)
        self.assertEqual({e["path"] for e in self.audit("please-destroy")}, {old, new})
        self.check_described()
        self.assertIn(new, self.ctl("deliver", "list"))
        # a day that is only missing is nobody's to take back
        second_file = second / f"{self.name}.log.gz"
        shutil.move(second, self.w.folder / "aside")
        self.run_()
        self.assertIn(f"{self.name}/events/edx/{second.name}.log.gz.gpg", self.messages())
        shutil.move(self.w.folder / "aside", second)
        # one that was altered is not delivered
        self.add("other", self.w.folder / "out2", tables="events")
        second_file.chmod(0o640)
        second_file.write_bytes(b"x")
        err = self.run_("other", code=1)
        self.assertIn("not the ones that czard staged", err)
        self.assertEqual(len(self.messages(self.w.folder / "out2")), len(self.days) - 2)

    def test_keep_until_revoke(self):
        section = self.w.config["deliver study"]
        section["keep"] = "1s"
        self.run_()
        had = self.messages()
        self.assertTrue(had)
        time.sleep(2.1)
        self.run_()
        self.assertEqual(self.messages(), [])
        self.assertEqual({e["path"] for e in self.audit("expired")}, set(had))
        self.run_()
        self.assertEqual(self.messages(), [])  # never twice
        section["until"] = "2020-01-01"
        err = self.run_(code=1)
        self.assertIn("please-destroy", err)
        self.assertEqual({e["path"] for e in self.audit("please-destroy")}, set(had))
        lines = len(self.audit())
        again = self.run_(code=1)
        self.assertNotIn("delivery-stopped", again)  # it is said once; by hand it is told why it exits 1
        self.assertIn("delivery study still stands still: its last day (until) is over", again)
        self.assertEqual(len(self.audit()), lines)
        self.add("second", self.w.folder / "out2")
        self.run_("second")
        self.assertTrue(self.messages(self.w.folder / "out2"))
        self.ctl("deliver", "revoke", "second", code=2)
        self.ctl("deliver", "revoke", "second", "--reason", "agreement ended")
        self.assertEqual(self.messages(self.w.folder / "out2"), [])
        self.assertIn("agreement ended", (self.w.folder / "out2/README").read_text())
        self.run_("second", code=1)
        self.assertEqual(self.messages(self.w.folder / "out2"), [])
        log = self.ctl("deliver", "log", "--csv")
        for word in ("agreement ended", "IRB 2026-113", "2099-01-01", self.recipients[0].fingerprint, had[0]):
            self.assertIn(word, log)
        self.assertEqual([e["uid"] for e in self.audit("revoked")], [os.getuid()])
        self.assertEqual(json.loads(self.ctl("deliver", "list", "--json"))["deliveries"][1]["state"], "revoked")

    def test_plan(self):
        self.w.config["deliver study"]["tables"] += " nothing_*"
        self.w.config["deliver study"]["courses"] += " Nowhere-*"
        shown = self.ctl("deliver", "plan", "study")
        self.assertIn("matches nothing: nothing_*", shown)
        self.assertIn("matches nothing: Nowhere-*", shown)
        self.assertEqual(self.files(), [])
        plan = json.loads(self.ctl("--json", "deliver", "plan"))["deliveries"][0]
        self.assertEqual(plan["courses"], [self.form])
        self.ctl("deliver", "run", "study")
        self.assertEqual(sorted(i["path"] for i in plan["items"]), self.messages())
        self.assertEqual(json.loads(self.ctl("--json", "deliver", "plan"))["deliveries"][0]["items"], [])
        self.ctl("deliver", "plan", "nobody", code=2)
        self.ctl("deliver", "nothing", code=2)

    def test_recipients(self):
        section = self.w.config["deliver study"]
        ada, bob = self.recipients
        self.run_()
        before = self.messages()
        section["recipients"] = f"{ada.fingerprint} {bob.fingerprint}"
        self.run_()
        self.assertEqual(self.messages(), before)  # the later one gets what comes
        self.run_("--again")
        self.assertEqual(len(self.messages()), len(before))
        for m in self.messages():
            self.assertIn("-r2.", m)
            self.assertEqual(bob.decrypt(self.outbox / m), ada.decrypt(self.outbox / m))
        # and one who is not listed any more reads nothing that lies there
        old = self.messages()
        section["recipients"] = ada.fingerprint
        self.assertIn("CZARD_EVENT=please-destroy", self.run_())
        self.assertEqual(self.messages(), sorted(m.replace("-r2.", "-r3.") for m in old))
        for m in self.messages():
            self.assertTrue(ada.decrypt(self.outbox / m))
            self.assertRaises(RuntimeError, bob.decrypt, self.outbox / m)
        self.assertEqual({e["path"] for e in self.audit("please-destroy")}, set(old))
        self.check_described()
        bad = {
            "past": Recipient("past", expires="1d", faked="20200101T000000"),
            "signs": Recipient("signs", encrypts=False)}
        for i, (name, r) in enumerate(bad.items()):
            self.addCleanup(r.done)
            r.export(self.keys)
            self.add(name, self.w.folder / f"bad{i}", recipients=f"{ada.fingerprint} {r.fingerprint}")
            err = self.run_(name, code=1)
            self.assertIn(r.fingerprint, err)
            self.assertEqual(self.messages(self.w.folder / f"bad{i}"), [])
            self.assertIn(f"delivery {name} stands still", self.ctl("status", code=1))
            self.assertIn(f'czard_delivery_stands_still{{delivery="{name}"}} 1', self.ctl("metrics"))
            self.assertIn('czard_delivery_stands_still{delivery="study"} 0', self.ctl("metrics"))
            page = self.w.folder / "page.html"
            self.ctl("report", "--html", str(page))
            self.assertIn(f"the delivery {name} stands still", page.read_text())
            self.assertIn('id="deliveries"', page.read_text())
        self.add("none", self.w.folder / "bad9", recipients="0123456789ABCDEF0123456789ABCDEF01234567")
        self.assertIn("recipients.d", self.run_("none", code=1))
        near = Recipient("near", expires="20d")
        self.addCleanup(near.done)
        near.export(self.keys)
        self.add("near", self.w.folder / "near", recipients=near.fingerprint)
        self.assertIn("CZARD_EVENT=delivery-ending", self.run_("near"))
        self.assertNotIn("CZARD_EVENT=delivery-ending", self.run_("near"))

    def test_keys_that_end(self):
        """A key that is not good any more stops its delivery, also when nothing is due; and check says what to do."""
        def still(said):
            self.assertIn(said, self.run_("later", code=1))
            shown = self.ctl("check", code=1)
            self.assertRegex(shown, rf"delivery later stands still: .*{said}")
            self.assertRegex(shown, r"delivery study: well, \d+ messages in its outbox")
            self.assertEqual(self.messages(outbox), had)  # they were given for good

        outbox = self.w.folder / "later"
        eve = Recipient("eve")
        self.addCleanup(eve.done)
        eve.export(self.keys)
        self.add("later", outbox, recipients=eve.fingerprint)
        self.run_()
        had = self.messages(outbox)
        self.assertTrue(had)
        good = (self.keys / "eve.asc").read_bytes()
        gpg(eve.home, "--quick-set-expire", eve.fingerprint, "25d")
        eve.export(self.keys)
        self.assertIn("a recipient's key expires", self.run_("later"))  # though nothing is due
        eve.revoke("subkey")
        eve.export(self.keys)
        still("has no encryption subkey that is valid")
        eve.revoke()
        eve.export(self.keys)
        still("is revoked")
        (self.keys / "eve.asc").unlink()
        still("is in no file of recipients.d")
        (self.keys / "eve.asc").write_bytes(good)
        self.assertIn("goes on", self.run_("later"))

    def test_another_outbox(self):
        self.run_()
        had = self.messages()
        self.outbox.rename(self.w.folder / "volume")
        self.outbox.mkdir(mode=0o750)
        self.assertIn("volume mounted", self.run_(code=1))
        self.assertEqual(self.files(), [])
        self.outbox.rmdir()
        self.assertIn(str(self.outbox), self.run_(code=1))
        (self.w.folder / "volume").rename(self.outbox)
        self.run_()
        self.assertEqual(self.messages(), had)

    def test_two_at_once(self):
        ini = str(self.w.ini())  # written once: a run that begins must not find it half written for the next
        runs = [subprocess.Popen([str(program("czard-deliver")), "--config", ini, "--once"],
                                 env=self.w.environment(), stderr=subprocess.DEVNULL) for _ in range(3)]
        self.assertEqual([r.wait(600) for r in runs], [0, 0, 0])
        self.check_follow(self.recipients[0])
        delivered = [e["path"] for e in self.audit("delivered")]
        self.assertEqual(sorted(delivered), sorted(set(delivered)))
        self.ctl("verify", "--audit")

    def test_follow_unit(self):
        late, aside = self.day_object(self.days[0])[1], self.w.folder / "late"
        self.w.fresh()
        self.state = Path(f"{self.w.state}-deliver")
        self.w.package_section["events_by_course"] = "edx"
        self.add("study", tables="events")
        shutil.move(late, aside)
        self.once()
        child = subprocess.Popen([str(program("czard-deliver")), "--config", str(self.w.ini()), "--follow"],
                                 env=self.w.environment(), stderr=subprocess.DEVNULL)
        self.addCleanup(child.kill)
        self.wait_for(lambda: len(self.messages()) == len(self.days) - 1)
        shutil.move(aside, late)
        self.once()
        self.wait_for(lambda: len(self.messages()) == len(self.days))
        child.terminate()
        self.assertEqual(child.wait(300), 0)

    def test_reload(self):
        """What is wrong is refused, and the unit goes on with what it had."""
        ini = self.w.ini()
        with open(self.w.folder / "journal", "w+", encoding="utf-8") as journal:
            child = subprocess.Popen([str(program("czard-deliver")), "--config", str(ini), "--follow"],
                                     env=self.w.environment(), stderr=journal)
            self.addCleanup(child.kill)
            self.wait_for(self.messages)
            good = ini.read_text()
            ini.write_text(good + "[deliver other]\npurpos = x\n")
            child.send_signal(signal.SIGHUP)
            self.wait_for(lambda: "CZARD_EVENT=reload-refused" in Path(journal.name).read_text())
            self.assertIsNone(child.poll())
            ini.write_text(good)
            child.send_signal(signal.SIGHUP)
            child.terminate()
            self.assertEqual(child.wait(300), 0)

    def test_each_run_reads_the_configuration(self):
        """What was taken out of it leaves no more, though nobody said reload; and where it cannot be read nothing does."""
        def write(more=""):
            text = self.w.ini().read_text() + more
            (self.w.folder / "new.ini").write_text(text)
            (self.w.folder / "new.ini").rename(ini)  # never half of it

        def replaced(day, by):
            shutil.copy(by, self.day_object(day)[1])
            self.once()
            return f"{self.name}/events/edx/{day.name}-r2.log.gz.gpg"

        def has(*what):
            return any(all(w in line for w in what) for line in journal.read_text().splitlines())

        first, second = self.days[:2]
        aside = shutil.copy(self.day_object(first)[1], self.w.folder / "aside")
        section = self.w.config["deliver study"]
        section["tables"] = "events auth_user"
        over, gone = self.w.folder / "over", self.w.folder / "gone"
        ends = self.add("over", over, tables="events")
        self.add("gone", gone, tables="events")
        journal, ini = self.w.folder / "journal", self.w.folder / "unit.ini"
        write()
        with open(journal, "w", encoding="utf-8") as log:
            child = subprocess.Popen([str(program("czard-deliver")), "--config", str(ini), "--follow"],
                                     env=self.w.environment(), stderr=log)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.wait_for(lambda: self.messages(over) and len(self.messages(gone)) == len(self.days))
        section["tables"], ends["until"] = "events", "2026-01-01"
        del self.w.config["deliver gone"]
        write()
        self.run_(code=1)  # by hand
        self.assertEqual([m for m in self.messages() if "/state/" in m] + self.messages(over), [])
        new = replaced(first, self.day_object(second)[1])
        self.wait_for(lambda: new in self.messages())
        self.run_(code=1)  # the unit's is through when ours is
        self.assertEqual([m for m in self.messages() if "/state/" in m] + self.messages(over), [])
        self.assertNotIn(new, self.messages(gone))
        # where it cannot be read nothing is handed out, and what was forgotten is taken back
        write("[deliver other]\npurpos = x\n")
        missing = replaced(second, aside)
        self.wait_for(lambda: has("delivery study stands still: the configuration cannot be read", "purpos"))
        self.ctl("forget", f"*{first.name}.log.gz.gpg", "--reason", "request 17")
        self.wait_for(lambda: new not in self.messages())
        self.assertNotIn(missing, self.messages())
        write()
        child.send_signal(signal.SIGHUP)
        self.wait_for(lambda: missing in self.messages())
        child.terminate()
        self.assertEqual(child.wait(300), 0)


class FullDisk(Deliveries):
    """The outbox, or the record, on a volume that has no room left."""
    full = "No space left on device"

    def mount(self, folder):
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M,mode=0750", "czard-test", folder], capture_output=True,
                              check=False)
        if done.returncode:
            self.skipTest("mount is not permitted")
        self.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=True)
        return folder

    def fill(self, folder, leave):
        """All but that many bytes. Returns what takes the room."""
        filler, free = folder / "filler", os.statvfs(folder)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - leave)))
        return filler

    def check_whole(self):
        """What has a name is whole, and in the record."""
        self.assertEqual(self.messages(), sorted(e["path"] for e in self.audit("delivered")))
        for message in self.messages():
            self.recipients[0].decrypt(self.outbox / message)
        self.assertEqual([p.name for p in self.outbox.rglob(".*") if p.name != ".czard-id"], [])

    def test_outbox(self):
        volume = self.mount(self.w.folder / "volume")
        self.outbox = volume / "out"
        self.outbox.mkdir(mode=0o750)
        self.w.config["deliver study"]["path"] = self.outbox
        counts = []
        for leave in (0, 16384):
            filler = self.fill(volume, leave)
            err = self.run_(code=1)
            if not counts:
                self.assertRegex(err, f"delivery study stands still.*{self.full}")
            self.assertIn(self.full, self.ctl("check", code=1))
            self.check_whole()
            counts.append(len(self.messages()))
            filler.unlink()
        self.assertEqual(counts[0], 0)
        self.assertGreater(counts[-1], 0)
        self.run_()
        self.check_follow(self.recipients[0])
        self.assertEqual(self.audit("delivery-stopped")[-1]["reason"], "")

    def test_record(self):
        """Where nothing can be noted, nothing is delivered, and that is said although it cannot be noted."""
        self.mount(self.state)
        filler = self.fill(self.state, 0)
        self.assertRegex(self.run_(code=1), self.full)
        self.assertEqual(self.messages(), [])
        filler.unlink()
        for leave in (16384, 24576, 32768, 49152):  # in the middle of the record, or of gpg's folder
            filler = self.fill(self.state, leave)
            self.run_(code=None)
            self.assertLessEqual(set(self.messages()), {e["path"] for e in self.audit("delivering")})
            filler.unlink()
        self.run_()
        self.check_follow(self.recipients[0])
        self.check_whole()
        self.ctl("verify", "--audit")

    @unittest.skipUnless(os.uname().machine == "x86_64", "the numbers of calls are another machine's")
    def test_the_unit_tries_again(self):
        """It wakes within a quarter of an hour, though the feed is silent."""
        shutil.rmtree(self.outbox)
        child = subprocess.Popen([str(program("czard-deliver")), "--config", str(self.w.ini()), "--follow"],
                                 env=self.w.environment(), stderr=subprocess.DEVNULL)
        self.addCleanup(child.kill)

        def waits():
            number, *args = Path(f"/proc/{child.pid}/syscall").read_text().split()
            return number == "7" and 2000 < int(args[2], 16) <= 900_000  # poll(2), milliseconds

        self.wait_for(waits)
        child.terminate()
        self.assertEqual(child.wait(300), 0)


@unittest.skipIf("asan" in os.environ.get("CZARD_BUILD", ""), "a preload cannot stand before the sanitizers' own, nor strace")
class Faults(Deliveries):
    package = {"days": 2, "weeks": 1, "courses": 1, "sites": "edx", "event_size": 3000, "member_size": 300}

    def again(self, name):
        """Nothing delivered yet, in an outbox of its own."""
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.outbox)
        self.outbox.mkdir(mode=0o750)

    def fault(self, **settings):
        log = self.w.folder / "calls"
        env = disk_fault.environment(log, "czard-deliver", ROOTS=f"{self.outbox}:{self.state}", **settings)
        done = subprocess.run([str(program("czard-deliver")), "--config", str(self.w.ini()), "--once"],
                              env={**self.w.environment(), **env}, capture_output=True, text=True, timeout=600, check=False)
        return done, disk_fault.notes(log)

    def check_all(self):
        """As if nothing had happened: everything once, the chain whole, no left-overs."""
        self.check_follow(self.recipients[0])
        self.assertEqual([p.name for p in self.outbox.rglob(".*") if p.name != ".czard-id"], [])
        delivered = [e["path"] for e in self.audit("delivered")]
        self.assertEqual(sorted(delivered), self.messages())
        done = [e["sha256"] for e in self.audit("delivered")]
        for path, sum_ in zip(delivered, done):
            self.assertEqual(digest((self.outbox / path).read_bytes()), sum_)

    def test_killed_at_each_call_and_each_fails(self):
        """By site, at the first message and at the last one: into how many pieces gpg cuts a message is chance."""
        self.again("count")
        done, calls = self.fault(NTH=0)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_all()
        messages, sites = len(self.messages()), collections.Counter(site for site, *_ in calls)
        self.assertGreater(len(sites), 30)
        rows = [(site, nth, 0) for site, n in sites.items() for nth in (1, messages) if nth <= n]
        rows += [(site, 1, (errno.ENOSPC, errno.EIO)[i % 2]) for i, site in enumerate(sites)]
        for site, nth, error in rows:
            self.again("row")
            with self.subTest(site=site, nth=nth, error=error):
                done, made = self.fault(SITE=site, NTH=nth, ERRNO=error)
                self.assertGreaterEqual(sum(call[0] == site for call in made), nth)
                if error == 0:
                    self.assertEqual(done.returncode, -9, done.stderr)
                else:
                    self.assertIn(done.returncode, (0, 1, 3), done.stderr)
                self.run_()
                self.check_all()
        print(f"{len(rows)} rows")

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_worked_once(self):
        """A run looks at a delivery once, also when it stands still."""
        self.add("none", self.w.folder / "none", recipients="0123456789ABCDEF0123456789ABCDEF01234567")
        for name, code in ("study", 0), ("none", 1):
            log = self.w.folder / f"{name}.strace"
            self.run_(name, code=code, wrapper=["strace", "-f", "-e", "trace=openat", "-o", log])
            self.assertEqual(log.read_text().count("/recipients.d/ada.asc"), 1, name)

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_what_it_opens(self):
        """No socket but UNIX, nothing outside, and no plaintext file anywhere."""
        log = self.w.folder / "strace"
        self.run_(wrapper=["strace", "-f", "-qq", "-o", log, "-e", "trace=%file,socket,connect,execve"])
        self.check_follow(self.recipients[0])
        text = log.read_text()
        sockets = set(re.findall(r"socket\((\w+)", text))
        self.assertLessEqual(sockets, {"AF_UNIX", "AF_LOCAL"}, sockets)
        made = {m for line in text.splitlines() if re.search(r"O_CREAT|O_TMPFILE", line) and " = -1" not in line
                for m in re.findall(r'"([^"]*)"', line)}
        allowed = re.compile(r"|".join(re.escape(str(p)) for p in (self.state, self.w.run_folder, "/dev/null")))
        for path in made:
            self.assertTrue(allowed.match(path) or path in (".", "lock", "audit.jsonl"), path)
        names = set(re.findall(r'linkat\([^"]*"[^"]*", \d+, "([^"]*)"', text))
        names |= set(re.findall(r'rename\w*\([^)]*"([^"]*)"[^"]*\)', text))
        folders = {p.name for p in self.outbox.rglob("*") if p.is_dir()}
        for name in names:
            self.assertTrue(name.endswith(".gpg") or name in ("README", "MANIFEST.jsonl", ".czard-id")
                            or "gnupg." in name or name.startswith(".") or name in folders, name)
        programs = {m for line in text.splitlines() if line.endswith(" = 0") for m in re.findall(r'execve\("([^"]*)"', line)}
        self.assertLessEqual({Path(p).name for p in programs}, {"czard-deliver", "gpg", "gpgconf", "gpg2"}, programs)


if __name__ == "__main__":
    main()
