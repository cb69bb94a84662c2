#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""systemd/czard.catalog explains every MESSAGE_ID of daemon/journal.h, and systemd can read it. Needs no privilege."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(name):
    with open(os.path.join(TOP, name)) as f:
        return f.read()


def entries(text):
    """{MESSAGE_ID: (headers, body)}; twice the same is an error."""
    found = {}
    for part in re.split(r"^-- ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n\n")
        message_id, *lines = head.split("\n")
        if message_id in found:
            raise AssertionError(f"two entries for {message_id}")
        found[message_id] = (dict(line.split(": ", 1) for line in lines), body.strip())
    return found


class Catalog(unittest.TestCase):
    def setUp(self):
        self.events = dict(re.findall(r'X\(\w+, "([\w-]+)", LOG_\w+,[\s\\]*"([0-9a-f]{32})"\)', read("daemon/journal.h")))
        self.catalog = entries(read("systemd/czard.catalog"))

    def test_every_event_is_explained_and_nothing_else(self):
        self.assertEqual(len(self.events), read("daemon/journal.h").count('        X('))
        self.assertEqual(len(set(self.events.values())), len(self.events), "MESSAGE_IDs are unique")
        missing = [name for name, message_id in self.events.items() if message_id not in self.catalog]
        self.assertEqual(missing, [])
        self.assertEqual(set(self.catalog) - set(self.events.values()), set())

    def test_each_says_what_happened_and_what_to_do(self):
        for message_id, (head, body) in self.catalog.items():
            with self.subTest(message_id):
                self.assertEqual(set(head), {"Subject", "Defined-By", "Documentation"})
                self.assertEqual(head["Defined-By"], "czard")
                self.assertGreaterEqual(len(body.split("\n\n")), 2)
                for line in body.splitlines():
                    self.assertLessEqual(len(line), 120)

    def test_fields_are_real(self):
        known = set(re.findall(r'"(CZARD_\w+?)=?"', read("daemon/journal.c")))
        for message_id, (head, body) in self.catalog.items():
            for field in re.findall(r"@?(CZARD_[A-Z0-9_]+)@?", head["Subject"] + body):
                self.assertIn(field, known, message_id)

    @unittest.skipUnless(shutil.which("journalctl"), "journalctl is not installed")
    def test_systemd_reads_it(self):
        with tempfile.TemporaryDirectory() as root:
            for folder in ("usr/lib/systemd/catalog", "var/lib/systemd/catalog"):
                os.makedirs(os.path.join(root, folder))
            shutil.copy(os.path.join(TOP, "systemd/czard.catalog"), os.path.join(root, "usr/lib/systemd/catalog"))
            done = subprocess.run(["journalctl", "--root", root, "--update-catalog"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            dump = subprocess.run(["journalctl", "--root", root, "--dump-catalog"], capture_output=True, text=True, check=True)
            read_back = entries(dump.stdout)
            self.assertEqual(set(read_back), set(self.events.values()))
            for message_id, (head, body) in self.catalog.items():
                self.assertEqual(read_back[message_id][1], body)
                self.assertEqual(read_back[message_id][0]["Subject"], head["Subject"])


if __name__ == "__main__":
    unittest.main()
