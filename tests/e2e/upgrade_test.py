#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 12 to 13 as dpkg sees it: a machine of the newer release that still has the package of the older one, with a
key, credentials and files, gets the newer package. tests/check runs this in the newer release; $CZARD_BUILD: the build
made there, $CZARD_OLDER_DEB: the package made in the older one."""

import os
import re
import subprocess
import sys
import unittest

import systemd_test
from booted import why_not

OLDER = os.environ.get("CZARD_OLDER_DEB", "")


def version(deb):
    return subprocess.run(["dpkg-deb", "-f", deb, "Version"], capture_output=True, text=True, check=True).stdout.strip()


class UpgradeTest(systemd_test.Case):
    def test_the_newer_package_goes_on(self):
        m = self.boot(package="protected", deb=OLDER)
        newer = m.made.deb
        # key and credentials as an admin brings them: encrypted for the machine
        m.ok("systemctl", "stop", "czard-fetch.socket")
        m.ok("rm", "-rf", "/var/lib/czard/gnupg", "/etc/credstore/czard.s3")
        m.copy(m.package + "/credentials.csv", "/root/credentials.csv")
        gpg = ["gpg", "--homedir", m.package + "/gnupg", "--batch", "--pinentry-mode", "loopback", "--passphrase-file",
               m.made.folder + "/passphrase"]
        m.put("/root/key.asc", subprocess.run([*gpg, "--armor", "--export-secret-keys"], capture_output=True, check=True).stdout)
        m.configure(package="events_by_course = edx")
        m.put("/root/passphrase", m.made.PASSPHRASE + "\n", 0o600)
        m.ok("czarctl", "import-key", "--passphrase-file", "/root/passphrase", "/root/key.asc")
        m.ok("czarctl", "import-credentials", "/root/credentials.csv")
        give = m.hold_back(0)
        m.held = 1
        m.ok("systemctl", "enable", "czard")
        m.sync()
        m.until_split()
        before, pid, lines = m.staged(), m.main_pid("czard"), m.feed()
        audit = m.get("/var/lib/czard/audit.jsonl")
        secrets = m.ok("sh", "-c", "cd /etc/credstore.encrypted && sha256sum czard.*")
        self.assertEqual(len(secrets.splitlines()), 2)

        m.copy(newer, "/root/newer.deb")
        planned = m.ok("apt-get", "-s", "install", "/root/newer.deb")
        self.assertIn(f"Inst czard [{version(OLDER)}] ({version(newer)} ", planned)
        self.assertIn("1 upgraded, 0 newly installed, 0 to remove", planned)
        cursor = m.cursor()
        m.ok("apt-get", "-y", "install", "/root/newer.deb")
        m.until("it is restarted", lambda: m.main_pid("czard") not in (0, pid))
        m.until_event("poll-done", after=cursor)
        self.assertEqual(m.ok("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "czard"), f"{version(newer)} installed")
        self.assertEqual(m.journal(after=cursor, CZARD_EVENT="published"), [], "nothing is fetched again")
        self.assertEqual(m.staged(), before)
        self.assertTrue(m.get("/var/lib/czard/audit.jsonl").startswith(audit))
        self.assertEqual(m.feed(), lines)
        self.assertEqual(m.ok("sh", "-c", "cd /etc/credstore.encrypted && sha256sum czard.*"), secrets)

        # and on, with the key and the credentials of before
        path = give()
        m.usr1()
        m.until("what comes next", lambda: os.path.exists(m.path(path)), 60)
        m.until("and its courses", lambda: m.journal(after=cursor, CZARD_EVENT="day-complete"))
        self.assertEqual({name: data for name, data in m.staged().items() if "/events-by-course/" not in name}, m.expected())
        feed = m.feed()
        self.assertEqual(feed[:len(lines)], lines)
        self.assertEqual([line["seq"] for line in feed], list(range(1, len(feed) + 1)))
        for words in (("verify",), ("verify", "--audit"), ("check",)):
            m.ok("czarctl", *words)

        # the older one is told apart, and goes over it only when that is asked for
        older = m.run("apt-get", "-y", "install", "/root/czard.deb")
        self.assertNotEqual(older.returncode, 0)
        self.assertRegex(older.stdout + older.stderr, re.compile("downgrade", re.I))


if __name__ == "__main__":
    if why_not() or not OLDER:
        print(f"skipped: {why_not() or 'needs $CZARD_OLDER_DEB'}")
        sys.exit(77)
    unittest.main()
