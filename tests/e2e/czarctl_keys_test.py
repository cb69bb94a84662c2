#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys as people have them: rotated, without end, with several passphrases, on smartcards, saved by other programs, in
GnuPG homes of other versions. What czarctl says of them is true, and what it does to them never makes a key unusable."""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

from czardtest import features
from czardtest.keys import cache_folder
from czardtest.run import World
from czarctl_test import czarctl

HOMES = Path(__file__).resolve().parent / "homes"
IN_2020, IN_2029 = "20201231", "2029-12-31"
SECRET_OF_B, SECRET_OF_C = "passphrase-of-B", "passphrase-of-C"


class Gpg:
    """gpg as the admin of another machine has it."""

    def __init__(self, home):
        self.home = home

    def __call__(self, *args, passphrase="", at=None, check=True, **kwargs):
        clock = ["--faked-system-time", f"{at}!"] if at else []
        done = subprocess.run(["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--yes", *clock,
                               "--pinentry-mode", "loopback", "--passphrase", passphrase, *[str(a) for a in args]],
                              capture_output=True, check=False, **kwargs)
        if check and done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        return done.stdout

    def listing(self, pattern=""):
        """{fingerprint: (record, expires, capabilities)} of all keys and subkeys."""
        found, last = {}, None
        for line in self("--with-colons", "--list-keys", *([pattern] if pattern else []), check=False).decode().splitlines():
            fields = line.split(":")
            if fields[0] in ("pub", "sub"):
                last = fields
            elif fields[0] == "fpr":
                found[fields[9]] = (last[0], int(last[6] or 0), last[11])
        return found

    def primary(self, pattern):
        return next(f for f, (kind, *_) in self.listing(pattern).items() if kind == "pub")

    def stop(self):
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], capture_output=True, check=False)


def make_keys(folder):
    """The files that the tests import, made once."""
    home = Path(tempfile.mkdtemp(prefix="czk.", dir="/tmp"))
    gpg = Gpg(home)
    try:
        gpg("--quick-gen-key", "Rotated <rotated@example.org>", "rsa2048", "sign", "never", at="20190101T000000")
        a = gpg.primary("rotated@")
        gpg("--quick-add-key", a, "rsa2048", "encr", "2020-12-31", at="20190101T000000")
        gpg("--quick-add-key", a, "rsa2048", "encr", IN_2029)
        (folder / "rotated.asc").write_bytes(gpg("--armor", "--export-secret-keys", a))
        (folder / "rotated-public.asc").write_bytes(gpg("--armor", "--export", a))
        (folder / "rotated-offline-primary.asc").write_bytes(gpg("--armor", "--export-secret-subkeys", a))
        for name, secret in (("B", SECRET_OF_B), ("C", SECRET_OF_C), ("plain", "")):
            gpg("--quick-gen-key", f"Czar {name} <{name}@example.org>", "rsa2048", "sign", "0", passphrase=secret)
            f = gpg.primary(f"{name}@example.org")
            gpg("--quick-add-key", f, "rsa2048", "encr", "0", passphrase=secret)
            (folder / f"{name}.asc").write_bytes(gpg("--armor", "--export-secret-keys", f, passphrase=secret))
            (folder / f"{name}.pass").write_text(secret + "\n")
            (folder / f"{name}.pass").chmod(0o600)
            (folder / f"{name}.fpr").write_text(f)
            if name == "B":
                (folder / "B-primary-only.asc").write_bytes(gpg("--armor", "--export-secret-keys", f + "!", passphrase=secret))
        gpg("--quick-gen-key", "foreign@example.org", "rsa2048", "default", "0")
        (folder / "foreign.asc").write_bytes(gpg("--armor", "--export", "foreign@example.org"))
        # the same key, another passphrase
        other = Path(tempfile.mkdtemp(prefix="czk.", dir="/tmp"))
        subprocess.run(["gpg", "--homedir", str(other), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase",
                        SECRET_OF_B, "--import", str(folder / "B.asc")], check=True, capture_output=True)
        b = (folder / "B.fpr").read_text()
        subprocess.run(["gpg", "--homedir", str(other), "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--command-fd",
                        "0", "--status-fd", "2", "--change-passphrase", b], input=f"{SECRET_OF_B}\nanother one\nanother one\n",
                       text=True, capture_output=True, check=True)
        (folder / "B-other-passphrase.asc").write_bytes(Gpg(other)("--armor", "--export-secret-keys", b,
                                                                   passphrase="another one"))
        Gpg(other).stop()
        shutil.rmtree(other)
    finally:
        gpg.stop()
        shutil.rmtree(home)


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(with_tls=False))
        cls.keys = cache_folder(cls.world.folder) / "czarctl-keys-1"
        if not cls.keys.exists():
            making = Path(tempfile.mkdtemp(prefix=".czarctl-keys", dir=cls.world.folder))
            make_keys(making)
            cls.keys.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(making, cls.keys, dirs_exist_ok=True)

    def setUp(self):
        w = self.world
        w.fresh()
        self.top = w.folder / self.id().split(".")[-1]
        self.top.mkdir()
        self.home = self.top / "home"
        self.stored = self.top / "stored"
        w.config["openpgp"] = {"homedir": self.home, "passphrase_file": self.stored}
        self.gpg = Gpg(self.home)
        self.addCleanup(self.gpg.stop)

    def ctl(self, *args, code=0, **kwargs):
        answer = czarctl(self.world, *args, **kwargs)
        if code is not None:
            self.assertEqual(answer.code, code, answer)
        return answer

    def file(self, name, data, mode=0o600):
        path = self.top / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)
        return path

    def import_key(self, name, *args, code=0, secret=None):
        path = name if isinstance(name, Path) else self.keys / f"{name}.asc"
        given = ["--passphrase-file", self.keys / f"{secret}.pass"] if secret else []
        return self.ctl("import-key", path, "--batch", *given, *args, code=code)

    def fingerprint(self, name):
        return (self.keys / f"{name}.fpr").read_text()

    def finding(self, name, code=None):
        return [c for c in self.ctl("check", "--json", code=code).json["checks"] if c["name"] == name]

    def secrets(self):
        return sorted(p.name for p in (self.home / "private-keys-v1.d").glob("*.key"))

    def opens(self):
        """Is the key found usable by a worker of czard's own?"""
        return self.finding("passphrase")[0]["ok"]


class RotatedTest(Base):
    """An old encryption subkey that has expired beside a good one, and a primary key without end."""

    def test_check_and_list_look_at_the_good_one(self):
        said = self.import_key("rotated").out
        self.assertNotIn("expired", said)
        expires = self.ctl("key", "list", "--json").json["keys"][0]["expires"]
        self.assertEqual(expires[:10], IN_2029)
        key, = self.finding("key")
        self.assertTrue(key["ok"], key)

    def test_extend_shortens_nothing(self):
        self.import_key("rotated")
        before = self.gpg.listing()
        said = self.ctl("key", "extend", "--expire", "1y").out
        self.assertIn("nothing to extend", said)
        self.assertEqual(self.gpg.listing(), before)
        self.ctl("key", "extend", "--expire", "20y")
        after = self.gpg.listing()
        self.assertEqual(len(after), 3)
        for fpr, (kind, expires, _) in after.items():
            was = before[fpr][1]
            if kind == "pub":
                self.assertEqual(expires, 0, "the primary key stays without end")
            elif was < time.time():
                self.assertEqual(expires, was, "what was rotated out stays out")
            else:
                self.assertGreater(expires, was)

    def test_extend_of_a_key_without_end(self):
        self.import_key("plain")
        before = self.gpg.listing()
        self.assertIn("nothing to extend", self.ctl("key", "extend").out)
        self.assertEqual(self.gpg.listing(), before)

    def test_extend_of_an_expired_key(self):
        """gpg's own "all subkeys" leaves out those that have expired."""
        gpg = Gpg(self.home)
        self.home.mkdir(mode=0o700)
        gpg("--quick-gen-key", "old@example.org", "rsa2048", "sign", "2020-12-31", at="20190101T000000")
        gpg("--quick-add-key", gpg.primary("old@"), "rsa2048", "encr", "2020-12-31", at="20190101T000000")
        gpg.stop()
        self.assertIn("expired", self.finding("key")[0]["detail"])
        self.ctl("key", "extend", "--expire", "2y")
        soon = time.time() + 700 * 86400
        self.assertTrue(all(expires > soon for _, expires, _ in gpg.listing().values()), gpg.listing())
        self.assertTrue(self.finding("key")[0]["ok"])

    def test_a_revoked_key(self):
        """All of it, or each subkey that encrypts: good for old messages, and nobody encrypts to it."""
        for what in ("key", "subkey"):
            with self.subTest(what):
                shutil.rmtree(self.home, ignore_errors=True)
                desk = self.top / f"desk-{what}"
                desk.mkdir(mode=0o700)
                gpg = Gpg(desk)
                self.addCleanup(gpg.stop)
                gpg("--quick-gen-key", "gone@example.org", "rsa2048", "sign", "0")
                fpr = gpg.primary("gone@")
                gpg("--quick-add-key", fpr, "rsa2048", "encr", "0")
                shutil.copytree(desk, self.home, ignore=shutil.ignore_patterns("S.*"))
                if what == "key":
                    text = (desk / "openpgp-revocs.d" / f"{fpr}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
                    self.gpg("--import", self.file("rev", text))
                else:
                    subprocess.run(["gpg", "--homedir", str(self.home), "--quiet", "--no-tty", "--command-fd", "0",
                                    "--edit-key", fpr], input=b"key 1\nrevkey\ny\n0\n\ny\nsave\n", capture_output=True,
                                   check=True)
                self.gpg.stop()
                key, = self.finding("key", code=None)
                self.assertFalse(key["ok"], key)
                self.assertIn("revoked", key["detail"])
                self.assertIn("revoked", self.ctl("key", "extend", code=None).err)
                export = self.file(f"{what}.asc", self.gpg("--armor", "--export-secret-keys", fpr))
                self.gpg.stop()
                shutil.rmtree(self.home)
                said = self.import_key(export, code=3)
                self.assertIn("revoked", said.err)
                self.assertNotIn("export all of it", said.err)

    def test_extend_with_an_offline_primary(self):
        self.import_key("rotated-offline-primary")
        before = self.gpg.listing()
        said = self.ctl("key", "extend", "--expire", "20y", code=3).err
        self.assertIn("gpg --quick-set-expire", said)
        self.assertIn("czarctl import-key", said)
        self.assertEqual(self.gpg.listing(), before)
        # what it says works, where the primary key is
        desk = self.top / "desk"
        desk.mkdir(mode=0o700)
        gpg = Gpg(desk)
        self.addCleanup(gpg.stop)
        gpg("--import", self.keys / "rotated.asc")
        fpr = gpg.primary("rotated@")
        self.paste_at(desk, said)
        after = gpg.listing(fpr)
        for subkey, (kind, expires, _) in after.items():
            was = before[subkey][1]
            self.assertTrue(expires == was or expires > was > time.time(), (kind, was, expires))
        self.assertIn("new public part", self.import_key(desk / "key.asc").out)
        self.assertGreater(self.ctl("key", "list", "--json").json["keys"][0]["expires"], "2040")

    def paste_at(self, desk, said):
        """Runs what is to be run on the machine of the primary key."""
        line = re.search(r"where it is: (gpg .* > key\.asc), then here: ", said)[1]
        options = "--batch --no-tty --quiet --yes --pinentry-mode loopback --passphrase ''"
        subprocess.run(["sh", "-ec", line.replace("gpg --", f"gpg {options} --")], cwd=desk, check=True, capture_output=True,
                       env={**os.environ, "GNUPGHOME": str(desk)})

    def test_an_offline_primary_with_subkeys_that_last_longer(self):
        """Of the subkeys only that is named which would end before the new date."""
        making = self.top / "making"
        making.mkdir(mode=0o700)
        gpg = Gpg(making)
        self.addCleanup(gpg.stop)
        gpg("--quick-gen-key", "late@example.org", "rsa2048", "sign", "never")
        fpr = gpg.primary("late@")
        for usage, end in (("encr", "30d"), ("encr", "2050-01-01"), ("sign", "2049-01-01")):
            gpg("--quick-add-key", fpr, "rsa2048", usage, end)
        self.import_key(self.file("offline.asc", gpg("--armor", "--export-secret-subkeys", fpr)))
        # the one that lasts is the one that counts: nothing to do for two years
        self.assertIn("nothing to extend", self.ctl("key", "extend", "--expire", "10d").out)
        before = gpg.listing(fpr)
        said = self.ctl("key", "extend", code=3).err
        self.paste_at(making, said)
        after = gpg.listing(fpr)
        changed = {f for f in after if after[f] != before[f]}
        soon = [f for f, (_, expires, _) in before.items() if 0 < expires < time.time() + 60 * 86400]
        self.assertEqual(sorted(changed), soon)


class ImportTest(Base):
    def test_tried_by_its_fingerprint(self):
        """Another key in the home opens; the new one does not."""
        self.import_key("plain")
        before = self.secrets()
        said = self.import_key("B", code=3)
        self.assertNotIn("can be used", said.out)
        self.assertIn("nothing is imported", said.err)
        self.assertIn(self.fingerprint("B"), said.err)
        self.assertEqual(self.secrets(), before)
        said = self.import_key("B", secret="B").out
        self.assertRegex(said, self.fingerprint("B") + ".*can be used")

    def test_what_programs_make_of_a_file(self):
        key = (self.keys / "B.asc").read_text()
        foreign = (self.keys / "foreign.asc").read_text()
        no_crc = "".join(line for line in key.splitlines(keepends=True) if not line.startswith("="))
        for name, data in (("mark", b"\xef\xbb\xbf" + key.encode()), ("utf16", key.encode("utf-16")),
                           ("utf16-big", b"\xfe\xff" + key.encode("utf-16-be")), ("text", "Hello,\nthe key:\n\n" + key),
                           ("no-crc", no_crc), ("foreign", foreign + key), ("dos", key.replace("\n", "\r\n")),
                           ("quoted", "She wrote:\n" + "".join(f"> {line}".rstrip(" ") for line in key.splitlines(keepends=True))),
                           ("indented", "".join(f"    {line}" for line in key.splitlines(keepends=True)))):
            with self.subTest(name):
                shutil.rmtree(self.home, ignore_errors=True)
                self.stored.unlink(missing_ok=True)
                said = self.import_key(self.file(name, data), secret="B").out
                self.assertRegex(said, self.fingerprint("B") + ".*can be used")
                self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)

    def test_what_cannot_be_used_is_named(self):
        public = (self.keys / "rotated-public.asc").read_bytes()
        for name, path, said in (("card", HOMES / "key-on-a-smartcard.gpg", "smartcard"),
                                 ("primary", self.keys / "B-primary-only.asc", "no encryption subkey"),
                                 ("public", self.file("public", public), "holds no secret key"),
                                 ("no key", self.file("no", "hello\n"), "not an OpenPGP key"),
                                 ("empty", self.file("empty", ""), "not an OpenPGP key")):
            with self.subTest(name):
                answer = self.import_key(path, secret="B", code=3)
                self.assertIn(said, answer.err)
                self.assertNotIn("can be used", answer.out)
                self.assertEqual(self.secrets(), [])
                self.assertFalse(self.stored.exists())

    def test_what_else_people_take_for_a_key(self):
        """The fault has a sentence; nothing is imported."""
        desk = self.top / "desk"
        desk.mkdir(mode=0o700)
        gpg = Gpg(desk)
        self.addCleanup(gpg.stop)
        gpg("--quick-gen-key", "desk@example.org", "rsa2048", "sign", "0")
        gpg("--quick-add-key", gpg.primary("desk@"), "rsa2048", "encr", "0")
        gpg("--quick-gen-key", "future@example.org", "rsa2048", "default", "0", at="20380101T000000")
        fpr = gpg.primary("desk@")
        key, future = (gpg("--armor", "--export-secret-keys", m, at="20380102T000000") for m in ("desk@", "future@"))
        binary = gpg("--export-secret-keys", fpr)
        encrypt = ("--trust-model", "always", "--recipient", fpr, "--encrypt")
        for name, data, said in (
                ("revocation", (desk / "openpgp-revocs.d" / f"{fpr}.rev").read_bytes(), "revocation certificate"),
                ("ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n", "key of SSH"),
                ("pem", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "key of SSH, TLS"),
                ("encrypted", gpg(*encrypt, "--armor", input=key), "is encrypted itself"),
                ("encrypted binary", gpg(*encrypt, input=key), "is encrypted itself"),
                ("passphrase", gpg("--symmetric", input=key, passphrase="x"), "is encrypted itself"),
                ("file of a home", next((desk / "private-keys-v1.d").glob("*.key")).read_bytes(), "a file of a GnuPG home"),
                ("archive", b"\x1f\x8b\x08\0" + bytes(20), "an archive"),
                ("ownertrust", gpg("--export-ownertrust"), "ownertrust"),
                ("half", key[:len(key) // 2], "cut off or damaged"), ("half binary", binary[:300], "cut off or damaged"),
                ("text mode", binary.replace(b"\n", b"\r\n"), "cut off or damaged"),
                ("future", future, "made in the future"), ("version 6", b"\x95\0\x20\6" + bytes(31), "RFC 9580"),
                ("mail", b"Content-Transfer-Encoding: quoted-printable\n\n" + key[:100], "a whole mail")):
            with self.subTest(name):
                answer = self.import_key(self.file("given", data), code=3)
                self.assertIn(said, answer.err)
                self.assertIn("nothing is imported", answer.err)
                self.assertEqual(self.secrets(), [])

    def test_others_in_the_file_do_not_matter(self):
        """All keys of somebody who signs with another one."""
        desk = self.top / "desk"
        desk.mkdir(mode=0o700)
        gpg = Gpg(desk)
        self.addCleanup(gpg.stop)
        gpg("--quick-gen-key", "signs@example.org", "rsa2048", "sign", "0")
        both = gpg("--armor", "--export-secret-keys", "signs@") + (self.keys / "plain.asc").read_bytes()
        self.assertRegex(self.import_key(self.file("both", both)).out, self.fingerprint("plain") + ".*can be used")

    def test_two_keys_with_two_passphrases(self):
        both = (self.keys / "B.asc").read_bytes() + (self.keys / "C.asc").read_bytes()
        for secret in ("B", "C"):
            said = self.import_key(self.file("both", both), secret=secret, code=3).err
            self.assertIn("all keys of one home have one passphrase", said)
            self.assertEqual(self.secrets(), [])

    def test_the_same_key_with_another_passphrase(self):
        self.import_key("B", secret="B")
        other = self.file("other.pass", "another one\n")
        answer = self.ctl("import-key", self.keys / "B-other-passphrase.asc", "--batch", "--passphrase-file", other, code=3)
        self.assertIn("there already", answer.err)
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)
        self.assertTrue(self.opens())
        self.assertIn("there already", self.import_key("B-other-passphrase").out)
        self.assertTrue(self.opens())

    def test_a_passphrase_that_would_lock_another_key(self):
        self.import_key("B", secret="B")
        before = self.secrets()
        answer = self.import_key("C", secret="C", code=3)
        self.assertIn(self.fingerprint("B"), answer.err)
        self.assertIn("lock", answer.err)
        self.assertEqual(self.secrets(), before)
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)
        self.assertTrue(self.opens())

    def test_a_stored_one_that_opens_nothing_is_replaced(self):
        self.file("stored", "not the right one\n", mode=0o400)
        self.import_key("B", code=3)
        self.import_key("B", secret="B")
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)
        # what check advises
        self.stored.chmod(0o600)
        self.stored.write_text("forgotten\n")
        finding = self.finding("passphrase")[0]
        self.assertIn("import-key", finding["fix"])
        self.import_key("B", secret="B")
        self.assertTrue(self.opens())

    def test_one_that_is_not_needed_is_not_stored(self):
        self.import_key("B", secret="B")
        self.import_key("plain", secret="C")
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)
        self.assertTrue(self.opens())

    def test_others_may_read_the_passphrase(self):
        loose = self.file("loose", SECRET_OF_B + "\n", mode=0o644)
        answer = self.ctl("import-key", self.keys / "B.asc", "--batch", "--passphrase-file", loose, code=3)
        self.assertIn("chmod", answer.err)
        self.assertEqual(self.secrets(), [])
        self.file("stored", SECRET_OF_B + "\n", mode=0o644)
        self.assertIn("chmod", self.import_key("B", code=3).err)
        self.assertEqual(self.secrets(), [])

    def test_nothing_is_left_behind(self):
        for name, code in (("B", 3), ("plain", 0)):
            self.import_key(name, code=code)
            self.assertEqual([p.name for p in self.world.run_folder.iterdir() if p.name.startswith("ctl-")], [])


    def test_a_smartcard_is_not_asked_for_its_secret_again(self):
        said = self.import_key(HOMES / "key-on-a-smartcard.gpg", code=3).err
        self.assertNotIn("--export-secret-keys", said)
        self.assertIn("czarctl keygen", said)

    def test_a_file_that_is_none_has_an_advice(self):
        path = self.file("no", "hello\n")
        said = self.import_key(path, code=3).err.strip()
        self.assertNotRegex(said, ";$")
        self.assertIn(f"gpg --show-keys {path} ", said)


class PassphraseFileTest(Base):
    """What an editor did to it is named, and never what it holds."""

    def test_what_is_odd_is_named(self):
        for name, data, said in (("mark", b"\xef\xbb\xbf" + SECRET_OF_B.encode() + b"\n", "byte-order mark"),
                                 ("blank", SECRET_OF_B.encode() + b" \n", "ends in a blank"),
                                 ("before", b" " + SECRET_OF_B.encode() + b"\n", "begins with a blank"),
                                 ("utf16", (SECRET_OF_B + "\n").encode("utf-16"), "UTF-16")):
            with self.subTest(name):
                given = self.file(name, data)
                answer = self.ctl("import-key", self.keys / "B.asc", "--batch", "--passphrase-file", given, code=3)
                self.assertIn(said, answer.err)
                self.assertNotIn(SECRET_OF_B, answer.err)
                self.assertEqual(self.secrets(), [])

    def test_a_line_of_windows(self):
        given = self.file("windows", SECRET_OF_B.encode() + b"\r\n")
        self.ctl("import-key", self.keys / "B.asc", "--batch", "--passphrase-file", given)
        self.assertTrue(self.opens())

    def test_the_stored_one(self):
        """czard and check name it too."""
        self.import_key("B", secret="B")
        self.stored.chmod(0o600)
        self.stored.write_bytes(b"\xef\xbb\xbf" + SECRET_OF_B.encode() + b"\n")
        self.assertIn("byte-order mark", self.finding("passphrase")[0]["detail"])
        self.world.config["s3"]["endpoint"] = "http://127.0.0.1:9"
        run = self.world.once()
        self.assertEqual(run.code, 3, run)
        self.assertIn("byte-order mark", run.events("failed")[0].message)

    def test_keygen_takes_none_that_is_odd(self):
        out = self.top / "out"
        out.mkdir()
        said = self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                        "--passphrase-file", self.file("mark", b"\xef\xbb\xbf" + b"long enough for all of it\n"), code=3).err
        self.assertIn("byte-order mark", said)
        self.assertEqual(self.secrets(), [])


@unittest.skipUnless(os.geteuid() == 0, "needs root, who becomes the owner of state_dir")
class DeniedTest(Base):
    """A home that czard may not read is not one without a key, and who is root already is not sent to root."""

    OWNER = 64322

    def setUp(self):
        super().setUp()
        self.import_key("plain")
        self.gpg.stop()
        for folder in (self.world.folder, self.top):
            folder.chmod(0o755)
        for path in (self.world.state, *self.world.state.rglob("*"), self.world.run_folder):
            os.chown(path, self.OWNER, self.OWNER)
        self.addCleanup(self.give_back)

    def give_back(self):
        for path in (self.world.state, *self.world.state.rglob("*"), self.world.run_folder):
            os.chown(path, 0, 0)

    def test_a_home_of_root(self):
        first, *others = self.secrets()
        key = self.home / "private-keys-v1.d" / first
        others = [key.with_name(name) for name in others]
        rings = [p for p in self.home.iterdir() if p.is_file()]
        for denied in (self.home, key):
            with self.subTest(denied):
                if denied == key:
                    for path in (self.home, self.home / "private-keys-v1.d", *rings, *others):
                        os.chown(path, self.OWNER, self.OWNER)
                finding, = self.finding("key")
                self.assertIn("Permission denied", finding["detail"])
                self.assertIn(str(denied), finding["detail"])
                self.assertIn(f" {denied}", finding["fix"])
                self.assertIn("chown -R", finding["fix"])
                self.assertNotIn("as root", finding["fix"])
                for args in (("key", "list"), ("key", "extend")):
                    said = self.ctl(*args, code=3)
                    self.assertIn("Permission denied", said.err)
                    self.assertNotIn("no secret key", said.out + said.err)
        # what it says helps
        os.chown(key, self.OWNER, self.OWNER)
        for path in self.home.rglob("*"):
            os.chown(path, self.OWNER, self.OWNER)
        self.assertTrue(self.finding("key")[0]["ok"])

    def test_a_staging_folder_of_root(self):
        self.world.staging.chmod(0o750)
        os.chown(self.world.staging, 0, 0)
        finding = next(c for c in self.ctl("check", "--json", code=None).json["checks"] if c["name"] == "staging")
        self.assertFalse(finding["ok"])
        self.assertNotIn("as root", finding["fix"])
        self.assertIn(f" {self.world.staging}", finding["fix"])


class ModernTest(Base):
    """RFC 9580, which GnuPG does not read."""

    def test_a_key_that_asks_for_it(self):
        armored = self.keys / "plain.asc"
        binary = subprocess.run(["gpg", "--dearmor"], input=armored.read_bytes(), capture_output=True, check=True).stdout
        for bits, asks in ((0x01, False), (0x07, False), (0x09, True), (0x08, True)):
            with self.subTest(bits):
                shutil.rmtree(self.home, ignore_errors=True)
                said = self.import_key(self.file("modern.gpg", features.with_features(binary, bits))).out
                self.assertEqual("SEIPD version 2" in said, asks, said)
                found = [c for c in self.finding("key") if "SEIPD version 2" in c["detail"]]
                self.assertEqual(bool(found), asks)
                self.gpg.stop()
        # what it says works
        self.assertTrue(found[0]["ok"])
        self.assertIn("--quick-add-uid", found[0]["fix"])
        fpr = self.fingerprint("plain")
        self.gpg("--quick-add-uid", fpr, "Czar (edX) <czar@example.org>")
        self.gpg("--quick-revoke-uid", fpr, "Czar plain <plain@example.org>")
        self.gpg.stop()
        self.assertFalse([c for c in self.finding("key") if "SEIPD version 2" in c["detail"]])

    def test_a_message_of_it(self):
        self.import_key("plain")
        message = features.packet(1, b"\6" + bytes(40)) + features.packet(18, b"\2\x09\2\6" + bytes(range(200)))
        self.world.config["openpgp"]["passphrase_file"] = None
        self.world.config["s3"]["credentials"] = self.top / "credentials"
        said = self.ctl("import-credentials", self.file("message.gpg", message), code=3).err
        self.assertIn("RFC 9580", said)
        self.assertNotIn("no encrypted data", said)


class HomedirTest(Base):
    """Passphrases belong to homedirs."""

    def second(self, **more):
        w = self.world
        w.config["package second"] = {"events": "s3://edx-course-data/second", "categories": "events",
                                      "homedir": self.top / "second", **more}

    def keygen(self, *args, secret, code=0):
        out = self.top / f"out{len(list(self.top.iterdir()))}"
        out.mkdir()
        return self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                        "--passphrase-file", self.keys / f"{secret}.pass", *args, code=code)

    def tearDown(self):
        self.world.config.pop("package second", None)

    def test_another_homedir_does_not_take_the_passphrase(self):
        self.import_key("B", secret="B")
        self.second()
        for answer in (self.import_key("C", "--package", "second", secret="C", code=3),
                       self.keygen("--package", "second", secret="C", code=3)):
            self.assertIn(self.fingerprint("B"), answer.err)
        self.assertFalse((self.top / "second/private-keys-v1.d").exists() and
                         list((self.top / "second/private-keys-v1.d").glob("*.key")))
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)

    def test_the_usual_home_counts_while_another_is_configured(self):
        """As after a change of homedir: the key of before must open when it is changed back."""
        w = self.world
        w.config["openpgp"]["homedir"] = None
        self.import_key("B", secret="B")
        w.config["openpgp"]["homedir"] = self.top / "new"
        self.assertIn(self.fingerprint("B"), self.keygen(secret="C", code=3).err)
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)

    def test_a_passphrase_of_its_own(self):
        self.import_key("B", secret="B")
        own = self.top / "own"
        self.second(passphrase_file=own)
        self.import_key("C", "--package", "second", secret="C")
        self.assertEqual(own.read_text().strip(), SECRET_OF_C)
        self.assertEqual(stat.S_IMODE(own.stat().st_mode), 0o400)
        self.assertEqual(self.stored.read_text().strip(), SECRET_OF_B)
        used = [c for c in self.finding("passphrase") if "can be used" in c["detail"]]
        self.assertEqual(len(used), 2, used)
        listed = self.ctl("key", "list", "--package", "second", "--json").json["keys"]
        self.assertEqual([k["fingerprint"] for k in listed], [self.fingerprint("C")])

    def test_czard_takes_it(self):
        w = self.world
        self.import_key("B", secret="B")
        own = self.top / "own"
        self.second(passphrase_file=own)
        self.import_key("C", "--package", "second", secret="C")
        w.config["s3"]["endpoint"] = "http://127.0.0.1:9"
        run = w.once()
        self.assertEqual(run.code, 1, run)
        self.assertNotIn("wrong-passphrase", run.stderr)
        own.chmod(0o600)
        own.write_text("wrong\n")
        run = w.once()
        self.assertIn("passphrase does not open", run.stderr)

    def test_keygen_beside_what_gpg_does_not_list(self):
        self.import_key("B", secret="B")
        for name in ("pubring.kbx", "pubring.kbx~"):
            (self.home / name).unlink(missing_ok=True)
        before = self.secrets()
        self.assertIn("secret keys already", self.keygen(secret="C", code=3).err)
        self.assertEqual(self.secrets(), before)

    def test_advice_for_the_key_of_a_package(self):
        """What is said can be pasted: it names the package and, beside another key in that home, the key."""
        self.second(passphrase_file=self.top / "own")
        home = self.top / "second"
        in_package = "--package second"
        missing = [c for c in self.finding("key") if str(home) in c["detail"]]
        self.assertIn(f"czarctl keygen {in_package}", missing[0]["fix"])
        self.assertIn(f"czarctl import-key FILE {in_package}", missing[0]["fix"])
        self.assertIn(f"czarctl keygen {in_package}", self.ctl("key", "list", *in_package.split()).out)
        self.assertIn(f"czarctl keygen {in_package}", self.ctl("key", "extend", *in_package.split(), code=3).err)
        home.mkdir(mode=0o700)
        gpg = Gpg(home)
        self.addCleanup(gpg.stop)
        for n in (1, 2):
            gpg("--quick-gen-key", f"soon{n}@example.org", "rsa2048", "sign", "20d")
            gpg("--quick-add-key", gpg.primary(f"soon{n}@"), "rsa2048", "encr", "20d")
        gpg.stop()
        fprs = [gpg.primary(f"soon{n}@") for n in (1, 2)]
        fixes = [c["fix"] or "" for c in self.finding("key")]
        for fpr in fprs:
            fix, = [f for f in fixes if fpr in f]
            self.assertIn(f"czarctl key extend {fpr} {in_package}", fix)
            self.assertIn(f"czarctl key export {fpr} {in_package}", fix)
        # and it does what it is for
        said = self.ctl(*f"key extend {fprs[1]} {in_package}".split()).out
        self.assertIn(f"czarctl key export {fprs[1]} {in_package} > ", said)
        self.assertIn("BEGIN PGP PUBLIC KEY", self.ctl(*f"key export {fprs[1]} {in_package}".split()).out)
        # keygen names the one that is there
        out = self.top / "out"
        out.mkdir()
        said = self.keygen("--package", "second", secret="C", code=3).err
        self.assertRegex(said, f"czarctl key extend [0-9A-F]{{40}} {in_package}")

    def test_status_and_journal_for_the_key_of_a_package(self):
        w = self.world
        own = self.file("own", "\n")
        self.file("stored", "\n")
        self.import_key("plain")
        self.second(passphrase_file=own)
        home = self.top / "second"
        home.mkdir(mode=0o700)
        gpg = Gpg(home)
        self.addCleanup(gpg.stop)
        gpg("--quick-gen-key", "soon@example.org", "rsa2048", "sign", "20d")
        fpr = gpg.primary("soon@")
        gpg("--quick-add-key", fpr, "rsa2048", "encr", "20d")
        gpg.stop()
        w.config["s3"]["endpoint"] = "http://127.0.0.1:9"
        run = w.once()
        command = f"czarctl key extend {fpr} --package second"
        self.assertEqual([command in e.message for e in run.events("key-expiring")], [True], run)
        fixes = [p["fix"] for p in self.ctl("status", "--json", code=1).json["problems"] if p["what"] == "key"]
        self.assertEqual([command in f for f in fixes], [True], fixes)

    def test_unknown_package(self):
        self.assertIn("third", self.ctl("key", "list", "--package", "third", code=2).err)


class PlaceTest(Base):
    """A passphrase is stored where it is looked for first."""

    def in_a_machine(self, *args, code=0, script=""):
        """As root of a machine with an /etc/credstore of its own."""
        etc = self.top / "etc"
        etc.mkdir(exist_ok=True)
        shell = ("mkdir -p $0/upper $0/work && mount -t overlay overlay -o lowerdir=/etc,upperdir=$0/upper,workdir=$0/work /etc "
                 f"&& {script or ':'} && exec \"$@\"")
        answer = czarctl(self.world, *args, below=["unshare", "--mount", "sh", "-c", shell, etc])
        self.assertEqual(answer.code, code, answer)
        return answer

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_credential_that_is_there_already(self):
        """It wins over passphrase_file; a new one goes there."""
        old = 'mkdir -p -m 0700 /etc/credstore && echo "an old one" > /etc/credstore/czard.passphrase'
        if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
            self.skipTest("no mounts here")
        said = self.in_a_machine("import-key", self.keys / "B.asc", "--batch", "--passphrase-file", self.keys / "B.pass",
                                 script=old)
        self.assertIn("/etc/credstore", said.out)
        self.assertFalse(self.stored.exists())
        checks = self.in_a_machine("check", "--json", code=1).json["checks"]
        self.assertTrue(next(c for c in checks if c["name"] == "passphrase")["ok"], checks)

    def test_a_credential_of_this_unit(self):
        """Nobody can replace it from here."""
        folder = self.top / "credentials"
        folder.mkdir()
        self.file("credentials/czard.passphrase", "another one\n")
        env = {**self.world.environment(), "CREDENTIALS_DIRECTORY": str(folder)}
        answer = self.ctl("import-key", self.keys / "B.asc", "--batch", "--passphrase-file", self.keys / "B.pass", env=env,
                          code=3)
        self.assertIn("czard.passphrase", answer.err)
        self.assertFalse(self.stored.exists())
        self.assertEqual(self.secrets(), [])


class HomeTest(Base):
    """Homes of other versions, and of other machines."""

    def unpack(self, name):
        with tarfile.open(HOMES / name) as tar:
            tar.extractall(self.top)  # made by us
            found = self.top / tar.getnames()[0]
        found.chmod(0o700)
        found.rename(self.home)
        for path in [self.home, *self.home.rglob("*")]:
            os.chown(path, os.geteuid(), os.getegid())

    def test_secring_of_gnupg_1_4(self):
        self.unpack("gnupg-1.4-secring.tar")
        before = sorted(p.name for p in self.home.iterdir())
        self.file("stored", "no passphrase is known\n")
        key, = self.ctl("key", "list", "--json").json["keys"]
        self.assertEqual(key["fingerprint"], "2A8B1CF903B030B2F6895EE7BB5582D23FBEDC52")
        self.assertTrue(self.finding("key")[0]["ok"])
        self.assertEqual(sorted(p.name for p in self.home.iterdir()), before, "a look changes nothing")
        out = self.top / "out"
        out.mkdir()
        said = self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                        "--passphrase-file", self.keys / "B.pass", code=3).err
        self.assertIn("never replaced", said)

    def test_keyboxd_of_gnupg_2_4(self):
        if b"keyboxd" in subprocess.run(["gpgconf", "--list-components"], capture_output=True, check=True).stdout:
            self.skipTest("this gpg knows it")
        self.unpack("gnupg-2.4-keyboxd.tar")
        before = sorted(p.name for p in self.home.rglob("*"))
        for args, code in ((("key", "list"), 3), (("import-key", self.keys / "plain.asc", "--batch"), 3)):
            self.assertIn("keyboxd", self.ctl(*args, code=code).err)
        finding, = self.finding("key")
        self.assertFalse(finding["ok"])
        self.assertIn("keyboxd", finding["detail"])
        self.assertEqual(sorted(p.name for p in self.home.rglob("*")), before)

    def test_keyboxd_where_gpg_knows_it(self):
        """All that czarctl does with a home works there too, and stays readable for gpg itself."""
        if b"keyboxd" not in subprocess.run(["gpgconf", "--list-components"], capture_output=True, check=True).stdout:
            self.skipTest("this gpg does not know it")
        self.home.mkdir(mode=0o700)
        (self.home / "common.conf").write_text("use-keyboxd\n")
        self.addCleanup(subprocess.run, ["gpgconf", "--homedir", self.home, "--kill", "all"], capture_output=True, check=False)
        self.gpg("--import", self.keys / "plain.asc")
        self.file("stored", SECRET_OF_B + "\n")
        self.assertTrue((self.home / "public-keys.d/pubring.db").exists())
        key, = self.ctl("key", "list", "--json").json["keys"]
        self.assertTrue(self.finding("key")[0]["ok"])
        self.assertTrue(self.opens())
        self.assertIn("BEGIN PGP PUBLIC KEY", self.ctl("key", "export", key["fingerprint"]).out)
        out = self.top / "out"
        out.mkdir()
        said = self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                        "--passphrase-file", self.keys / "B.pass", code=3).err
        self.assertIn(key["fingerprint"], said)
        self.assertFalse((self.home / "S.keyboxd").exists(), "a look leaves nothing running")
        self.gpg("--list-keys")  # starts one, which has its lock from now on
        self.assertTrue((self.home / "public-keys.d/pubring.db.lock").exists())
        self.import_key("rotated")
        rotated = self.gpg.primary("rotated@")
        self.assertEqual({k["fingerprint"] for k in self.ctl("key", "list", "--json").json["keys"]}, {key["fingerprint"], rotated})
        before = self.gpg.listing("rotated@")
        self.ctl("key", "extend", rotated, "--expire", "20y")
        after = self.gpg.listing("rotated@")
        self.assertEqual(set(after), set(before))
        self.assertNotEqual(after, before)
        self.assertFalse([p.name for p in self.home.glob("pubring.*")], "no second key ring beside the database")
        # and one that is new says so before there is any key
        new = self.top / "new"
        new.mkdir(mode=0o700)
        (new / "common.conf").write_text("use-keyboxd\n")
        self.addCleanup(subprocess.run, ["gpgconf", "--homedir", new, "--kill", "all"], capture_output=True, check=False)
        self.world.config["openpgp"]["homedir"] = new
        self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                 "--passphrase-file", self.keys / "B.pass")
        made, = self.ctl("key", "list", "--json").json["keys"]
        self.assertEqual(list(Gpg(new).listing())[0], made["fingerprint"])
        self.assertTrue(self.opens())

    def test_a_key_ring_that_gpg_cannot_read(self):
        """That is not one without keys."""
        self.import_key("plain")
        self.gpg.stop()
        for damage in (bytes(range(256)) * 8, b"\0\0\0\x20\1\1\0\2KBXf" + bytes(20), None):
            with self.subTest(damage):
                if damage is None:
                    for ring in self.home.glob("pubring.*"):
                        ring.unlink()
                else:
                    (self.home / "pubring.kbx").write_bytes(damage)
                listed = self.ctl("key", "list", code=None)
                finding, = self.finding("key")
                self.assertFalse(finding["ok"])
                for said in (listed.out + listed.err, finding["detail"], self.ctl("key", "extend", code=3).err):
                    self.assertRegex(said, "gpg cannot list the keys|rivate keys lie in .*, but gpg finds no public key")
                    self.assertNotIn("no secret key", said)
                    self.assertNotIn("keygen", said)
        # what is advised
        self.import_key("plain")
        self.assertTrue(self.finding("key")[0]["ok"])

    def test_a_new_home_that_says_keyboxd(self):
        """Where gpg does not know it, it uses the key ring that it knows."""
        if b"keyboxd" in subprocess.run(["gpgconf", "--list-components"], capture_output=True, check=True).stdout:
            self.skipTest("this gpg knows it")
        self.home.mkdir(mode=0o700)
        (self.home / "common.conf").write_text("use-keyboxd\n")
        self.assertIn("can be used", self.import_key("plain").out)
        self.file("stored", SECRET_OF_B + "\n")
        self.assertTrue(self.opens(), self.finding("passphrase"))

    def test_a_lock_of_another_machine(self):
        self.import_key("rotated")
        out = self.top / "out"
        out.mkdir()
        new = self.top / "new"
        new.mkdir(mode=0o700)
        for home in (self.home, new):
            (home / "pubring.kbx.lock").write_text("      4242\nlaptop.local\n")
        for args in (("import-key", self.keys / "plain.asc", "--batch"), ("key", "extend", "--expire", "30y")):
            with self.subTest(args[0]):
                said = self.ctl(*args, code=3).err
                self.assertIn("laptop.local", said)
                self.assertIn(f"rm {self.home}/pubring.kbx.lock", said)
        self.world.config["openpgp"]["homedir"] = new
        said = self.ctl("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out,
                        "--passphrase-file", self.keys / "B.pass", code=3).err
        self.assertIn("laptop.local", said)
        # one that this machine left is nobody's
        self.world.config["openpgp"]["homedir"] = self.home
        (self.home / "pubring.kbx.lock").write_text(f"{2 ** 22 + 5:10d}\n{os.uname().nodename}\n")
        self.import_key("plain")

    def test_very_many_public_keys(self):
        """The listing is longer than a mebibyte, and the key is the last in it."""
        self.home.mkdir(mode=0o700)
        (self.home / "pubring.gpg").write_bytes(crowd_of_keys(560))
        listing = self.gpg("--with-colons", "--with-keygrip", "--list-keys")
        self.assertGreater(len(listing), 2 ** 20)
        self.import_key("plain")
        key, = self.ctl("key", "list", "--json").json["keys"]
        self.assertEqual(key["fingerprint"], self.fingerprint("plain"))


def crowd_of_keys(n):
    """A key ring of n public keys with very long names and without signatures."""
    def packet(tag, body):
        return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body
    out = b""
    for i in range(n):
        modulus = bytes([0x80]) + i.to_bytes(126, "big") + b"\1"
        out += packet(6, b"\4" + (1_600_000_000 + i).to_bytes(4, "big") + b"\1" + b"\4\0" + modulus + b"\0\x11\1\0\1")
        out += packet(13, b"x" * 1900 + b" <colleague-%d@example.org>" % i)
    return out


class BrokenConfigurationTest(Base):
    def test_what_writes_refuses(self):
        w = self.world
        w.config["openpgp"]["homedir"] = "relative/gnupg"
        (self.top / "out").mkdir()
        csv = w.package / "credentials.csv"
        for args in (("import-key", self.keys / "plain.asc", "--batch"), ("import-credentials", csv, "--force"),
                     ("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", self.top / "out",
                      "--passphrase-file", self.keys / "B.pass"),
                     ("key", "extend"), ("resync",), ("pause",), ("unpause",), ("adopt",), ("prune", "--apply"),
                     ("latest", "universityx", "auto"), ("forget", "*", "--reason", "test")):
            with self.subTest(args[0]):
                answer = self.ctl(*args, code=3)
                self.assertIn("homedir", answer.err)
                self.assertIn("czard --check-config", answer.err)
        self.assertEqual(list((self.top / "out").iterdir()), [])
        self.assertFalse((w.state / "gnupg").exists())


if __name__ == "__main__":
    unittest.main()
