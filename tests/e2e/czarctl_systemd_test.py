#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czarctl under a booted systemd: from the installed package to the first sync, as root; then beside the service."""

import json
import subprocess
import sys
import unittest

import systemd_test
from czardtest import schema
from systemd_test import Case, Made, ORG, why_not


class Start(Case):
    def test_from_the_package_to_a_sync(self):
        m = self.boot(configured=False, package="protected")
        m._serve()
        m.configure()
        key = subprocess.run(["gpg", "--homedir", m.package + "/gnupg", "--batch", "--pinentry-mode", "loopback",
                              "--passphrase", Made.PASSPHRASE, "--armor", "--export-secret-keys"],
                             capture_output=True, check=True).stdout
        m.put("/root/key.asc", key.decode(), 0o600)
        m.put("/root/pin", Made.PASSPHRASE + "\n", 0o600)
        message = subprocess.run(["gpg", "--homedir", m.package + "/gnupg", "--batch", "--trust-model", "always",
                                  "-o", "-", "-r", m.facts["fingerprint"], "--encrypt",
                                  m.package + "/credentials.csv"], capture_output=True, check=True).stdout
        m.put("/root/credentials.csv.gpg", message, 0o600)
        first = m.run("czarctl", "check")
        self.assertEqual(first.returncode, 1, first)
        self.assertIn("czarctl keygen, or czarctl import-key FILE", first.stdout)
        # the way of a new user
        m.ok("czarctl", "import-key", "/root/key.asc", "--batch", "--passphrase-file", "/root/pin")
        said = m.ok("czarctl", "import-credentials", "/root/credentials.csv.gpg")
        self.assertNotIn(m.facts["secret_access_key"], str(said))
        # not started yet is no fault; nothing else is left to do
        before = m.ok("czarctl", "check")
        self.assertIn("czard.service is not started yet\n", before)
        self.assertIn("-> systemctl enable --now czard\n", before)
        # what is typed, or comes through a pipe, is the shell's
        self.assertEqual(m.ok("sh", "-c", "printf 'next\\n' | { czarctl check > /dev/null; cat; }"), "next\n")
        # enabled, and not running: that is no good news, whatever has run before
        m.ok("setpriv", "--reuid=czard", "--regid=czard", "--init-groups", "env", "RUNTIME_DIRECTORY=/tmp/once", "sh", "-c",
             "mkdir -m 700 /tmp/once && czard --once --config /etc/czard/czard.ini; test $? -le 3")
        m.ok("systemctl", "enable", "czard")
        idle = json.loads(m.run("czarctl", "status", "--json").stdout)
        self.assertIn("czard.service is enabled, and does not run", str(idle["problems"]))
        m.ok("systemctl", "disable", "czard")
        m.ok("systemctl", "start", "czard")
        waited = m.run("czarctl", "resync", "--wait")
        self.assertEqual(waited.returncode, 0, f"{waited}\n{m.run('journalctl', '-u', 'czard', '-n', '20').stdout}")
        status = m.run("czarctl", "status", "--json")
        answer = json.loads(status.stdout)
        self.assertEqual(schema.check(answer, "status"), [])
        self.assertEqual((status.returncode, answer["problems"]), (0, []))
        self.assertRegex(answer["credentials"]["source"] or "", "^/etc/credstore", "root sees where they are, and how old")
        self.assertIsNotNone(answer["credentials"]["since"])
        self.assertGreater(sum(p["objects"]["PUBLISHED"] for p in answer["packages"]), 0)

        # secrets are root's, and nothing of czarctl's is left in the runtime folder
        listed = m.run("find", "/etc/credstore", "/etc/credstore.encrypted", "-type", "f", "-printf", "%p %m %u\n").stdout.split("\n")
        self.assertEqual({line.split(" ", 1)[1] for line in listed if line}, {"400 root"})
        self.assertEqual(len([line for line in listed if line]), 2, listed)
        self.assertEqual(m.run("find", "/run/czard", "-name", "ctl-*").stdout, "")
        owners = m.run("find", "/var/lib/czard", "-not", "-user", "czard").stdout
        self.assertEqual(owners, "")

        # a plan and a check beside the running service, which holds its czard-fetch
        plan = m.run("czarctl", "plan", "--json")
        self.assertEqual(plan.returncode, 0, plan)
        self.assertEqual(json.loads(plan.stdout)["objects"], [])
        check = m.run("czarctl", "check", "--json")
        bad = [c for c in json.loads(check.stdout)["checks"] if not c["ok"]]
        self.assertEqual(bad, [], check)
        self.assertEqual(m.main_pid("czard"), answer["daemon"]["pid"])

        # who may ask
        m.ok("useradd", "-M", "helpdesk")
        m.ok("usermod", "-aG", "czard-admin", "helpdesk")
        m.ok("useradd", "-M", "stranger")
        pause = m.run("setpriv", "--reuid=helpdesk", "--regid=helpdesk", "--init-groups", "czarctl", "pause", "--reason", "drill")
        self.assertEqual(pause.returncode, 0, pause)
        stranger = m.run("setpriv", "--reuid=stranger", "--regid=stranger", "--init-groups", "czarctl", "unpause")
        self.assertEqual(stranger.returncode, 3, stranger)
        m.ok("czarctl", "unpause")
        uid = int(m.run("id", "-u", "helpdesk").stdout)
        entries = json.loads(m.run("czarctl", "audit", "--json").stdout)["entries"]
        self.assertEqual([(e["event"], e["uid"]) for e in entries if "pause" in e["event"]], [("pause", uid), ("unpause", 0)])
        m.ok("czarctl", "verify")
        m.ok("systemctl", "stop", "czard")
        stopped = json.loads(m.run("czarctl", "check", "--json").stdout)
        self.assertEqual([c["detail"] for c in stopped["checks"] if not c["ok"]], ["czard.service does not run"])
        m.ok("czarctl", "metrics", "--output", "/root/czard.prom")

        # Without D-Bus systemd answers root alone, and what cannot be told is not called wrong.
        m.ok("systemctl", "stop", "dbus.socket", "dbus.service")
        for start, good, word in ((False, False, "czard does not run;"), (True, True, "czard runs;")):
            if start:
                m.ok("systemctl", "start", "czard")
            said = json.loads(m.run("czarctl", "check", "--json", timeout=120).stdout)["checks"]
            units = [c for c in said if c["name"] == "units"]
            self.assertEqual([c["ok"] for c in units], [good], units)
            self.assertTrue(units[0]["detail"].startswith(word) and "D-Bus" in units[0]["detail"], units)
            lists = [c for c in said if c["name"] == "credentials"]
            self.assertIn("needs D-Bus", lists[0]["detail"], "systemd-run starts what asks S3")
        m.ok("systemctl", "stop", "czard")
        m.ok("systemctl", "start", "dbus.socket")

        # what it starts for itself is locked as the unit is, with what the admin added
        m.put("/etc/systemd/system/czard-fetch.service.d/more.conf", "[Service]\nInaccessiblePaths=/etc/czard\n")
        locked = m.run("czarctl", "check", "--json")
        said = [c["detail"] for c in json.loads(locked.stdout)["checks"] if not c["ok"]]
        self.assertTrue([s for s in said if "czard-fetch" in s], (said, locked.stderr))
        self.assertIn("/etc/czard/czard.ini", locked.stderr)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    systemd_test.BUILD = systemd_test.BUILD or "."
    unittest.main()
