#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czarctl --help, czarctl(1) and the shell completion name the same commands, options and metrics."""

import re
import subprocess
import unittest
from pathlib import Path

from czardtest.run import program

TOP = Path(__file__).resolve().parents[2]
MANUAL = (TOP / "config/man/czarctl.1").read_text()
COMPLETION = TOP / "config/completion/czarctl"


def czarctl(*args):
    return subprocess.run([program("czarctl"), *args], capture_output=True, text=True, check=True).stdout


def section(name):
    return re.search(rf"(?ms)^\.Sh {name}\n(.*?)(?=^\.Sh |\Z)", MANUAL)[1]


def manual_items():
    """{command: the source of its item}"""
    found = {}
    for item in re.split(r"(?m)^\.It ", section("DESCRIPTION"))[1:]:
        item = re.split(r"(?m)^\.(?:El|Ss)\b", item)[0]
        command = re.match(r"(?:Xo\n\.)?Cm ([a-z-]+)", item)
        if command:
            found[command[1]] = item
    return found


def complete(*words):
    done = subprocess.run(["bash", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _czarctl; '
                           'printf "%s\\n" "${COMPREPLY[@]}"', "-", COMPLETION, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


class Manual(unittest.TestCase):
    def setUp(self):
        self.commands = re.findall(r"(?m)^  ([a-z-]+) {2,}\S", czarctl("--help"))
        self.assertGreater(len(self.commands), 15)
        self.flags = {}
        for command in self.commands:
            usage = czarctl(command, "--help").split("\n")[0]
            self.flags[command] = dict(re.findall(r"[ \[]--([a-z-]+)( [A-Z][A-Z,.]*)?", usage))

    def test_every_command(self):
        self.assertEqual(set(manual_items()), set(self.commands))
        self.assertEqual(complete("czarctl", ""), set(self.commands))

    def test_every_option(self):
        items = manual_items()
        self.assertGreater(sum(map(len, self.flags.values())), 25)
        for command, flags in self.flags.items():
            with self.subTest(command):
                self.assertEqual(set(re.findall(r"\bFl -([a-z-]+)", items[command])), set(flags))
                self.assertEqual(complete("czarctl", command, "--"), {f"--{f}" for f in flags} | {"--config", "--json", "--help"})

    def test_a_value_is_no_option(self):
        """After an option that takes a value no command and no option is offered."""
        for command, flags in self.flags.items():
            for flag in (f for f, value in flags.items() if value):
                with self.subTest(command, flag=flag):
                    self.assertEqual(complete("czarctl", command, f"--{flag}", "") & set(self.commands), set())
                    self.assertEqual({w for w in complete("czarctl", command, f"--{flag}", "--") if w.startswith("--")}, set())

    def test_an_example_each(self):
        for command, item in manual_items().items():
            examples = re.findall(rf"(?m)^(?:\.Dl )?[$#] czarctl {command}\b(.*(?:\\e\n.*)?)", item)
            self.assertTrue(examples, command)
            for option in re.findall(r"--([a-z-]+)", " ".join(examples)):
                self.assertIn(option, {*self.flags[command], "json"}, command)

    def test_every_metric(self):
        made = set(re.findall(r'"(czard_[a-z_]+)["{]', (TOP / "daemon/czarctl/metrics.c").read_text()))
        told = set(re.findall(r"\bczard_[a-z_]+", section("METRICS")))
        self.assertGreater(len(made), 10)
        self.assertEqual(told, made)


if __name__ == "__main__":
    unittest.main()
