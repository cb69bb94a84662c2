#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Text from outside is shown, never obeyed: every command of czarctl over keys, members, user ids, reasons and answers of a
server that hold what a terminal, a spreadsheet or a reader's eye would fall for."""

import csv
import io
import json
import re
import shutil
import sqlite3
import subprocess
import unittest

from czardtest import keys, main, poison
from czardtest.common import utc
from czardtest.daemon import Daemon
from czardtest.run import REPOSITORY, World, program
from czardtest.s3d import S3d

# Title of a window, DEL, CSI of C1, NEL, marks and overrides of direction, isolates, separators, byte order mark, two lines
HOSTILE = ["\x1b]0;x\x07", "\x7f", "\x9b2J", "\x85", "\u202e", "\u200e", "\u200f", "\u061c", "\u2066", "\u2069", "\u2028",
           "\u2029", "\ufeff", "\r\nsmuggled in"]
ALL = "".join(HOSTILE)
# Reasons must be one line without control characters; what only changes how a line is shown they may hold.
TURNED = "".join(HOSTILE[4:-1])
FORMULA = "=HYPERLINK(\"http://x.example\",\"a\")" + TURNED
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe]")


def plain_lines(test, what, out, line_end="\n"):
    """Valid UTF-8 in lines, with nothing in them that is obeyed, and no line that was smuggled in."""
    text = out.decode()
    found = OBEYED.findall(text.replace(line_end, "\n"))
    test.assertEqual(found, [], f"{what}: {text[:2000]!r}")
    test.assertNotRegex(text, "(?m)^smuggled", what)
    return text


class SourceTest(unittest.TestCase):
    def test_one_way_out(self):
        """Only constants are printed by the C library's own; what has arguments goes through shown_print(), tables and JSON."""
        ours = {"rows.c", "main.c"}
        for file in sorted((REPOSITORY / "daemon/czarctl").glob("*.c")):
            if file.name not in ours:
                found = re.findall(r"(?<![a-z_])(?:v?f?printf|perror|v?dprintf)\(", file.read_text())
                self.assertEqual(found, [], file.name)


class ShownTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        cls.world = w = cls.enterClassContext(World(with_tls=False, days=2, weeks=1, courses=1, rdx=1))
        cls.make_objects()
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts))
        w.use(cls.s3.endpoint, tls_endpoint=False)
        cls.first = w.once(timeout=120)
        cls.taint_ledger()
        cls.key_file = cls.hostile_key()
        cls.covered = set()

    @classmethod
    def make_objects(cls):
        w = cls.world
        (o,) = (o for o in w.facts["objects"] if o["category"] == "rdx")
        there = w.package / "buckets" / o["bucket"] / o["key"]
        for n, text in enumerate([*HOSTILE, "=1+1", "\xe9"]):
            folder = there.parent.parent / f"{n}{text}"
            folder.mkdir()
            shutil.copy2(there, folder / there.name)
        # an archive that has its day, and members with such names
        date = "2024-06-30"
        top, good = f"{w.org}-{date}", w.package / "hostile.zip"
        members = [(poison.member(f"{top}/{n}{text}.sql.gpg"), b"x", None) for n, text in enumerate(HOSTILE)]
        poison.write_zip(good, members)
        target = w.package / "buckets" / "course-data" / f"{top}.zip"
        shutil.move(good, target)
        subprocess.run(["touch", "-d", f"@{utc(date)}", target], check=True)

    @classmethod
    def taint_ledger(cls):
        """What the ledger may hold, by whatever version."""
        db = sqlite3.connect(cls.world.state / "ledger.db")
        db.execute("UPDATE object SET detail = ? WHERE detail != ''", (ALL,))
        db.execute("UPDATE member SET detail = ?", (ALL,))
        db.execute("UPDATE secret_key SET user_id = ?", (ALL,))
        db.commit()
        db.close()

    def taint_records(self):
        """The same of the audit record and the feed: raw where an earlier version wrote it raw. The chain breaks by it."""
        w = self.world
        for file in (w.state / "audit.jsonl", w.staging / w.org / "CHANGES.jsonl"):
            text = file.read_text()
            for c in HOSTILE[1:-1]:
                text = text.replace(f"\\u{ord(c[0]):04x}", c)
            last = json.loads(text.rstrip("\n").split("\n")[-1])
            line = last | {"seq": last["seq"] + 1, "path": f"a{ALL}b", "reason": FORMULA}
            raw = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
            file.write_text(text + raw + "\n")

    @classmethod
    def hostile_key(cls):
        out = cls.world.folder / "hostile.key"
        with keys.Home() as home:
            (cls.world.folder / "none").write_text("")
            home.gpg("--pinentry-mode", "loopback", "--passphrase", "", "--allow-freeform-uid", "--quick-gen-key",
                     f"Evil {ALL[:-1]} <evil@x.example>".replace("\r\n", " "), "rsa2048", "sign,cert", "never")
            fingerprint = next(line.split(":")[9] for line in home.gpg("--with-colons", "--list-keys").decode().splitlines()
                               if line.startswith("fpr"))
            home.gpg("--pinentry-mode", "loopback", "--passphrase", "", "--quick-add-key", fingerprint, "rsa2048", "encr", "never")
            out.write_bytes(home.gpg("--pinentry-mode", "loopback", "--passphrase", "", "--export-secret-keys", "--armor"))
        out.chmod(0o600)
        return out

    def ctl(self, *args):
        w = self.world
        command = [program("czarctl", w.build), "--config", w.ini(), *args]
        done = subprocess.run([str(a) for a in command], capture_output=True, check=False, timeout=120, env=w.environment(),
                              stdin=subprocess.DEVNULL, start_new_session=True)
        self.covered.add(args[0])
        return done

    def shown(self, *args, csv_form=False):
        done = self.ctl(*args)
        plain_lines(self, f"{args} stderr", done.stderr)
        return plain_lines(self, f"{args}", done.stdout, "\r\n" if csv_form else "\n")

    def commands(self):
        """Runs, in this order."""
        w = self.world
        csv_file = w.folder / "credentials.csv"
        csv_file.write_text(f"User name,Access key ID,Secret access key\n{ALL[:-13]},AKIA{ALL[:-13]},{'s' * 40}\n")
        csv_file.chmod(0o600)
        key = f"s3://edx-course-data/{w.org}/rdx/0{HOSTILE[0]}/x"
        looks = [("status",), ("list",), ("list", "--member", "*"), ("list", "--state", "REJECTED,RETRY,IGNORED"),
                 ("plan",), ("plan", "--offline"), ("gaps",), ("changes",), ("changes", w.org), ("verify",),
                 ("verify", f"/x{ALL}"), ("verify", "--audit"), ("check",), ("latest", w.org), ("prune",), ("audit",),
                 ("metrics",), ("metrics", "--output", w.folder / "metrics"), ("report", "--html", w.folder / "report"),
                 ("report", "--json"),
                 ("key", "list"), ("deliver", "list"), ("deliver", "log"), ("deliver", "log", "--csv"),
                 ("deliver", "plan", f"x{ALL}")]
        return [*looks, ("backup", w.folder / f"b{ALL}"), ("latest", f"x{ALL}", "auto"), ("key", "export"),
                ("key", "extend", f"x{ALL}"),
                ("keygen", "--batch", "--name", f"x{ALL}", "--email", f"x{ALL}@x.example"),
                ("import-credentials", csv_file), ("import-key", "--batch", self.key_file), ("key", "list"), ("check",),
                ("adopt",), ("pause", "--reason", FORMULA), ("status",), ("unpause", "--reason", TURNED),
                ("pause", "--reason", ALL), ("resync", key), ("resync", f"*{ALL}*"), ("forget", "*rdx*", "--reason", FORMULA), ("forget", "*/rdx/1[45]*", "--reason", FORMULA), None, *looks]

    def test_every_command(self):
        said = {}
        for args in self.commands():
            if args is None:
                self.taint_records()
                continue
            for form in ([], ["--json"]):
                if form and (args[0] in ("backup", "report", "metrics", "keygen") or "--csv" in args):
                    continue
                with self.subTest(args=args, form=form):
                    said[(args[0], *form)] = said.get((args[0], *form), "") + self.shown(*args, *form, csv_form="--csv" in args)
        for file in ("metrics", "report"):
            plain_lines(self, file, (self.world.folder / file).read_bytes())
        rows = list(csv.reader(io.StringIO(self.shown("audit", "--csv", csv_form=True), newline="")))
        cells = [cell for row in rows for cell in row]
        self.assertEqual({len(row) for row in rows}, {len(rows[0])})
        self.assertEqual([c for c in cells if c.lstrip(" ")[:1] in tuple("=+-@\t\r") and c], [])
        self.assertTrue([c for c in cells if c.startswith("'=HYPERLINK(\"http://x.example\",\"a\")\\xe2")])
        # it is there to be seen, not left out
        for command in ("list", "audit", "changes", "forget", "check", "key", "status"):
            self.assertIn("\\x1b" if command != "forget" else "=HYPERLINK", said[(command,)], command)
            self.assertIn("\\xe2\\x80\\xae", said[(command,)], command)
        # and whoever reads JSON gets the text as it is
        listed = json.loads(self.ctl("list", "--json").stdout)
        wanted = {f"{n}{text}" for n, text in enumerate(HOSTILE)}
        self.assertLessEqual(wanted, {o["key"].split("/")[2] for o in listed["objects"] if "/rdx/" in o["key"]})
        self.assertIn("\\u202e", said[("list", "--json")])
        self.assertIn("\\u0085", said[("audit", "--json")])
        self.assertIn("\\u2028", said[("changes", "--json")])
        self.everything_was_run()

    def everything_was_run(self):
        """A new command must be run here as well. `demo` has a world of its own, without anything of ours."""
        listed = self.ctl("--help").stdout.decode()
        known = set(re.findall(r"(?m)^  ([a-z][a-z-]+) {2,}", listed))
        self.assertGreater(len(known), 20)
        self.assertEqual(known - self.covered, {"demo"})

    def test_journal(self):
        self.assertTrue(self.first.events("rejected"))
        plain_lines(self, "journal", self.first.stderr.encode())
        self.assertIn("\\x1b]0", self.first.stderr)

    def test_configuration(self):
        w = self.world
        ini = w.folder / "hostile.ini"
        ini.write_text(w.ini().read_text() + f"\n[x{ALL}]\n{ALL} = {ALL}\n[staging]\nfile_mode = x{ALL}\n")
        done = subprocess.run([program("czard", w.build), "--check-config", "--config", ini], capture_output=True, check=False)
        self.assertEqual(done.returncode, 2)
        plain_lines(self, "czard --check-config", done.stderr)


class RunningTest(unittest.TestCase):
    """What goes through a running czard and its control socket."""

    def test_requests(self):
        with World(with_tls=False, days=1, weeks=0, courses=0, rdx=1) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            with Daemon(w) as d:
                d.synced()
                for args in (("pause", "--reason", FORMULA), ("status",), ("unpause", "--reason", TURNED), ("resync", f"*{ALL}*"),
                             ("forget", f"*{ALL}*", "--reason", TURNED), ("forget", "*rdx*", "--reason", ALL),
                             ("forget", "*rdx*", "--reason", TURNED),
                             ("latest", w.org, f"x{ALL}"), ("audit",)):
                    for form in ([], ["--json"]):
                        done = subprocess.run([program("czarctl", w.build), "--config", w.ini(), *args, *form],
                                              capture_output=True, check=False, timeout=60, env=w.environment())
                        plain_lines(self, args, done.stdout)
                        plain_lines(self, args, done.stderr)
            plain_lines(self, "journal", "\n".join(d.lines).encode())


if __name__ == "__main__":
    main()
