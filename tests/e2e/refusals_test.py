#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What czard refuses to start with: the exit status, and what it says that an admin should do."""

import fcntl
import os
import re
import shutil
import signal
import threading
import time
import unittest

from czardtest import main
from czardtest.daemon import PATIENCE, Daemon
from czardtest.run import World, fingerprint
from czardtest.s3d import S3d


class RefusalsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(passphrase="open sesame", days=2, weeks=1, courses=1))
        w = cls.world
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts, w.certificate))
        cls.gnupg = w.package / "gnupg"

    def setUp(self):
        self.world.fresh()
        self.world.use(self.s3.endpoint)
        self.s3.forget_requests()

    def refuse(self, code, *words, args=("--once",)):
        """Runs and expects that exit status, and each of the words in one line of level err."""
        done = self.world.run(*args, timeout=PATIENCE)
        self.assertEqual(done.code, code, done)
        errors = [e for e in done.entries if e.level == "err"]
        self.assertTrue([e for e in errors if all(re.search(word, e.line) for word in words)], (words, done))
        return done

    def refuse_mode(self, path, mode, *words):
        before = path.stat().st_mode & 0o7777
        path.chmod(mode)
        try:
            done = self.refuse(3, re.escape(str(path)), *words)
        finally:
            path.chmod(before)
        self.assertEqual(self.s3.requests(), [], done)

    # -- exit 3: cannot start ---------------------------------------------------------------------------------------
    def test_lock_held(self):
        w = self.world
        self.assertEqual(w.once().code, 0)
        with open(w.state / "lock", "r+", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate()
            lock.write("4242\n")
            lock.flush()
            before = fingerprint(w.staging)
            self.refuse(3, "4242", "czarctl resync --wait")
            self.assertEqual(fingerprint(w.staging), before)
        self.assertEqual(w.once().code, 0)

    def test_lock_held_by_a_running_one(self):
        w = self.world
        self.s3.behave("slow", op="list", delay=60_000)  # until it is ended
        self.addCleanup((self.s3.behaviours / "slow").unlink)
        child = w.start("--once")
        try:
            end = time.monotonic() + PATIENCE
            while not (w.state / "lock").exists() or not (w.state / "lock").read_text().strip():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.refuse(3, str(child.pid), "czarctl resync --wait")
        finally:
            child.terminate()
            child.communicate(timeout=PATIENCE)

    def test_staging_for_others(self):
        self.refuse_mode(self.world.staging, 0o755)

    def test_state_for_others(self):
        self.refuse_mode(self.world.state, 0o751)

    def test_homedir_for_others(self):
        self.refuse_mode(self.gnupg, 0o705)

    def test_passphrase_for_the_group(self):
        self.refuse_mode(self.world.folder / "passphrase", 0o440)

    def test_credentials_for_the_group(self):
        self.refuse_mode(self.world.package / "credentials.csv", 0o440)

    @unittest.skipUnless(os.geteuid() == 0, "needs root to give a folder away")
    def test_staging_of_somebody_else(self):
        w = self.world
        os.chown(w.staging, 12345, -1)
        self.refuse(3, re.escape(str(w.staging)))

    def test_staging_with_files_of_unknown_origin(self):
        (self.world.staging / "mine.txt").write_text("not czard's\n")
        self.refuse(3, r"\.czard-id|adopt")
        self.assertEqual((self.world.staging / "mine.txt").read_text(), "not czard's\n")

    def test_staging_volume_is_not_mounted(self):
        w = self.world
        self.assertEqual(w.once().code, 0)
        for empty in (True, False):
            shutil.rmtree(w.staging)
            w.staging.mkdir(mode=0o750)
            if not empty:
                (w.staging / ".czard-id").write_text("0" * 32 + "\n")
            self.s3.forget_requests()
            self.refuse(3, re.escape(str(w.staging)), "mount|adopt")
            self.assertEqual([r for r in self.s3.requests() if r.op == "get"], [])
            self.assertEqual([p for p in os.listdir(w.staging) if p != ".czard-id"], [])

    def test_no_secret_key(self):
        w = self.world
        empty = w.folder / "empty-gnupg"
        empty.mkdir(mode=0o700, exist_ok=True)
        w.config["openpgp"]["homedir"] = empty
        self.refuse(3, "key")
        self.assertEqual([p for p in os.listdir(w.staging) if p != ".czard-id"], [])

    def test_wrong_passphrase(self):
        w = self.world
        wrong = w.folder / "wrong"
        wrong.write_text("open sesame?\n")
        wrong.chmod(0o400)
        self.addCleanup(wrong.unlink)
        w.config["openpgp"]["passphrase_file"] = wrong
        done = self.refuse(3, "passphrase")
        self.assertNotIn("sesame", done.stderr)
        self.assertEqual([p for p in os.listdir(w.staging) if p != ".czard-id"], [])

    def test_no_passphrase(self):
        self.world.config["openpgp"]["passphrase_file"] = None
        self.refuse(3, "passphrase")

    # -- nothing to sign with, so S3 is not asked --------------------------------------------------------------------
    def refuse_credentials(self, code, path, *words):
        self.world.config["s3"]["credentials"] = path
        done = self.refuse(code, re.escape(str(path)), "CZARD_CAUSE=no-credentials", "import-credentials", *words)
        self.assertEqual(len(done.events("credentials-refused" if code == 1 else "failed")), 2 if code == 1 else 1, done)
        said = done.events("credentials-refused")
        self.assertEqual([e for e in said if "S3 refuses" in e.message or "CZARD_ACCESS_KEY_ID" in e.fields], [], done)
        self.assertEqual(self.s3.requests(), [])
        self.assertNotIn("SECRET", done.stderr)

    def test_no_credentials_file(self):
        self.refuse_credentials(3, self.world.folder / "absent.csv", "No such file")

    def bad_credentials(self, text, mode=0o400):
        path = self.world.folder / "bad.csv"
        path.write_text(text)
        path.chmod(mode)
        self.addCleanup(path.unlink)
        return path

    def test_malformed_credentials_file(self):
        text = 'User Name,Access Key Id,Secret Access Key\r\n"x",AKIDEXAMPLE,SECRET with blanks\r\n'
        self.refuse_credentials(1, self.bad_credentials(text), "line 2, column 17", "secret access key")

    def test_credentials_that_others_may_read(self):
        path = self.bad_credentials("Access Key Id,Secret Access Key\nA,SECRET\n")
        self.world.config["s3"]["credentials"] = path
        self.refuse_mode(path, 0o444, "chmod 0400")

    def test_a_mended_credentials_file_is_read_when_it_is_tried_again(self):
        w = self.world
        good = w.config["s3"]["credentials"].read_text()
        path = w.config["s3"]["credentials"] = self.bad_credentials("nonsense\n")
        with Daemon(w) as d:
            d.until("credentials-refused", CZARD_CAUSE="no-credentials")
            d.until("poll-done")
            path.chmod(0o600)
            path.write_text(good)
            mark = d.mark()
            d.signal(signal.SIGUSR1)
            d.synced(mark)
            self.assertEqual(w.differences(), [])
            self.assertEqual(d.events("helper-died"), [])

    # -- exit 1: refused by the server ------------------------------------------------------------------------------
    def test_no_such_bucket(self):
        self.s3.behave("none", op="list", status=404, code="NoSuchBucket")
        self.addCleanup((self.s3.behaviours / "none").unlink)
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        lists = [(r.bucket, r.key) for r in self.s3.requests()]
        self.assertEqual(len(lists), len(set(lists)), "each listing is asked for once")
        for bucket in ("course-data", "edx-course-data"):
            said = [e for e in done.events("retry") if e.fields["CZARD_BUCKET"] == bucket]
            self.assertTrue(said, done)
            self.assertEqual({e.fields["CZARD_CAUSE"] for e in said}, {"no-such-bucket"})
            self.assertRegex(said[0].message, f"s3://{bucket}/.*package section")

    def test_wrong_aws_secret(self):
        w = self.world
        csv = w.folder / "wrong.csv"
        csv.write_text(f"User Name,Access Key Id,Secret Access Key\nx,{w.facts['access_key_id']},wrong\n")
        csv.chmod(0o400)
        self.addCleanup(csv.unlink)
        w.config["s3"]["credentials"] = csv
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        said = done.events("credentials-refused")
        self.assertTrue(said, done)
        self.assertEqual(said[0].fields["CZARD_ACCESS_KEY_ID"], w.facts["access_key_id"])
        self.assertLess(done.seconds, 60)

    def refuse_certificate(self, **options):
        w = self.world
        certificate = w.authority.server("bad", **options)
        with S3d(w.package, w.facts, certificate) as s3:
            w.use(s3.endpoint)
            # It is a network fault like others, so it is tried again, for minutes: until it is said is enough.
            child = w.start("--once")
            said = []
            stop = threading.Timer(PATIENCE, child.terminate)
            stop.start()
            for line in child.stderr:
                said.append(line.decode())
                if re.search("(?i)certificate|ssl|tls", line.decode()) and "CZARD_CAUSE=tls" in line.decode():
                    break
            else:
                self.fail("no word of the certificate:\n" + "".join(said))
            stop.cancel()
            child.terminate()
            child.communicate(timeout=PATIENCE)
            self.assertEqual(s3.requests(), [])
        self.assertEqual([p for p in os.listdir(w.staging) if p != ".czard-id"], [])

    def test_expired_certificate(self):
        self.refuse_certificate(expired=True)

    def test_certificate_of_another_host(self):
        self.refuse_certificate(hosts=("elsewhere.example",), ips=())

    def test_self_signed_certificate(self):
        self.refuse_certificate(self_signed=True)

    # -- exit 2: configuration --------------------------------------------------------------------------------------
    def refuse_config(self, line, *words, section="daemon", said_at=0):
        """A line added to a section that is good must be refused with its place in the file (said_at: lines below it)."""
        path = self.world.ini()
        text = path.read_text().splitlines()
        at = text.index(f"[{section}]") + 1
        text.insert(at, line)
        path.write_text("\n".join(text) + "\n")
        for mode in (("--check-config",), ("--once",)):
            done = self.world.run(*mode, config=path, timeout=PATIENCE)
            self.assertEqual(done.code, 2, done)
            self.assertIn(f"{path}:{at + 1 + said_at}:", done.stderr + done.stdout)
            for word in words:
                self.assertRegex(done.stderr + done.stdout, word)
        self.assertEqual(self.s3.requests(), [])
        self.assertFalse((self.world.state / "ledger.db").exists())

    def test_unknown_key(self):
        self.refuse_config("poll_intervall = 5min", "poll_interval")

    def test_bad_value(self):
        self.refuse_config("poll_interval = often", "poll_interval")

    def test_same_key_twice(self):
        self.refuse_config("state_dir = /var/lib/other", "state_dir", said_at=1)

    def test_comma_in_a_list(self):
        self.refuse_config("sites = edx,edge", "white space|blank|space", section=f"package {self.world.org}")

    def test_http_to_another_host(self):
        self.world.config["s3"]["endpoint"] = "http://192.0.2.1:80"
        path = self.world.ini()
        done = self.world.run("--check-config", config=path, timeout=PATIENCE)
        self.assertEqual(done.code, 2, done)
        self.assertIn("allow_http", done.stderr + done.stdout)

    def test_good_configuration(self):
        done = self.world.run("--check-config", timeout=PATIENCE)
        self.assertEqual(done.code, 0, done)

    def test_check_config_needs_nothing(self):
        w = self.world
        for section, key in (("daemon", "state_dir"), ("staging", "path"), ("openpgp", "homedir")):
            w.config[section][key] = f"/nonexistent/{key}"
        done = w.run("--check-config", timeout=PATIENCE)
        self.assertEqual(done.code, 0, done)

    def test_drop_in(self):
        w = self.world
        path = w.ini()
        drop_ins = path.with_name(path.name + ".d")
        drop_ins.mkdir(exist_ok=True)
        self.addCleanup(shutil.rmtree, drop_ins)
        (drop_ins / "50-bad.ini").write_text("[staging]\n\nfile_mode = 0777\n")
        done = w.run("--check-config", config=path, timeout=PATIENCE)
        self.assertEqual(done.code, 2, done)
        self.assertIn(f"{drop_ins}/50-bad.ini:3", done.stderr + done.stdout)

    def test_usage(self):
        done = self.world.run("--no-such-option", timeout=PATIENCE)
        self.assertEqual(done.code, 2, done)

    def test_version_and_help(self):
        for option in ("--version", "--help"):
            done = self.world.run(option, timeout=PATIENCE)
            self.assertEqual(done.code, 0, done)
            self.assertIn("czard", done.stdout)


if __name__ == "__main__":
    main()
