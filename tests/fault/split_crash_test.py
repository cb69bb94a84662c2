#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every call with which czard and czard-filter change the disk while staged days are split by course is a place where
they are killed, and one where the call fails. Nothing is ever half there, the organisation's own files are as they were,
and the next run makes every day exactly what it must be, without a GET.

    CZARD_BUILD=build/release tests/fault/split_crash_test.py [-v] [-k TEXT] [-j N]

Each distinct call site once: killed there, and failed there with one of the errors in turn. CZARD_CRASH_FULL=1: every
call of every site, killed and failed with each error."""

import os
import shutil
from collections import Counter

from table import main

from crash_test import CrashBase, CrashPlace, ERRORS, FULL, Row, SMALL, is_hidden, rows_of
from czardtest import package, split
from czardtest.run import fingerprint, tree

DAYS = 2
# What the ledger and the disk have, and the rule that is set then.
RULES = {"later": "edx", "another rule": "edx+url"}


class SplitPlace(CrashPlace):
    def __enter__(self):
        super().__enter__()
        self.package_section["categories"] = "events"
        return self

    def begin(self, scenario):
        self.take(scenario, "state", "staging", "buckets", "expected")
        self.package_section["events_by_course"] = RULES[scenario]


class SplitBase(CrashBase):
    place = SplitPlace

    def make_scenarios(self):
        shutil.rmtree(self.package)
        self.facts = package.make(self.package, **{**SMALL, "days": DAYS, "weeks": 0, "rdx": 0})
        self.scenarios = {}
        with SplitPlace(self) as p:
            assert p.once().code == 0, p.last
            self.keep(p, "later")
            p.package_section["events_by_course"] = "edx"
            assert p.once().code == 0, p.last
            assert len(folders(p)) == DAYS, folders(p)
            self.keep(p, "another rule")


def folders(p):
    """{date: folder} that have their names."""
    return {f.name: f for f in p.staging.glob("*/events-by-course/*/*/*") if not f.name.startswith(".")}


def is_of(p, date, folder, rule):
    source, = p.staging.glob(f"*/events/*/*/*-{date}.log.gz")
    try:
        split.compare(source, folder, rule)
    except (AssertionError, OSError) as e:
        return str(e) or "it differs"
    return ""


def own_files(p):
    """The organisation's: all but what is split."""
    return {name: what for name, what in fingerprint(p.staging).items()
            if "/events-by-course" not in name and not is_hidden(name) and "." in name and "CHANGES" not in name}


class SplitRow(Row):
    def begin(self, p):
        super().begin(p)
        self.before = own_files(p)

    def after_fault(self, p, run):
        if not self.error and self.who == "czard":
            p.check("exit status when killed", run.code, -9)
        else:
            p.check("exit status", run.code in (0, 1, 3), True)
            if run.code and not [e for e in run.entries if e.level in ("warning", "err") and e.fields.get("CZARD_CAUSE")]:
                p.problems.append(f"no entry tells of {self.error or 'a dead filter'}: {run!r}")
            if run.code == 0:
                whole(p, self.scenario, "though a call failed", hidden=True)
        self.visible_is_whole(p)
        p.check("the organisation's own files", own_files(p), self.before)

    def after(self, p):
        p.check("GETs of the run after", len(p.requests("get")), 0)
        p.check("the organisation's own files after it", own_files(p), self.before)
        whole(p, self.scenario, "after")

    def visible_is_whole(self, p):
        """Each folder that has its name is the old one or the new one, never half of either."""
        for date, folder in folders(p).items():
            wrong = [is_of(p, date, folder, rule) for rule in RULES.values()]
            if all(wrong):
                p.problems.append(f"half there: {folder}: {wrong}")
        if self.scenario != "later":
            p.check("days that have a folder", len(folders(p)), DAYS)


def whole(p, scenario, when, hidden=False):
    """Disk, ledger and audit record agree, and nothing is left behind."""
    for date, folder in folders(p).items():
        wrong = is_of(p, date, folder, RULES[scenario])
        if wrong:
            p.problems.append(f"{when}: {wrong}")
    p.check(f"{when}: days that have a folder", len(folders(p)), DAYS)
    if not hidden:
        p.problems += [f"{when}: left behind: {name}" for name in tree(p.staging) if is_hidden(name)]
    rows = p.ledger("SELECT path, rule, cause, source_sha256, lines_in FROM split ORDER BY path")
    p.check(f"{when}: rows", [(r["path"], r["rule"], r["cause"]) for r in rows],
            [(str(f.relative_to(p.staging)), RULES[scenario], "none") for _, f in sorted(folders(p).items())])
    try:
        lines, _ = p.audit()
    except ValueError as e:
        p.problems.append(f"{when}: audit.jsonl: {e}")
        return
    told = {line["path"]: line for line in lines if line["event"] == "day-complete"}
    p.check(f"{when}: days in the audit record", set(told), {r["path"] for r in rows})


def find_rows(base):
    rows, errors, known = [], 0, set()
    for scenario in RULES:
        for who in ("czard", "czard-filter"):
            with SplitPlace(base) as p:
                p.begin(scenario)
                notes = p.faulty(who=who)
                assert p.last.code == 0, p.last
                whole(p, scenario, f"{scenario}, with the preload")
                assert not p.problems, p.problems
            seen = Counter()
            for key, _, path, frames in notes:
                seen[key] += 1
                if (who, key) in known and not FULL:
                    continue
                known.add((who, key))
                chosen = ERRORS if FULL else [ERRORS[errors % len(ERRORS)]]
                rows += rows_of(SplitRow, scenario, who, key, seen[key], path, frames, chosen)
                errors += 1
            print(f"{scenario}, {who}: {sum(seen.values())} calls at {len(seen)} sites")
            assert seen, f"{who} makes no call"
    return rows


if __name__ == "__main__":
    os.environ.setdefault("UV_THREADPOOL_SIZE", "1")
    main(find_rows, SplitBase)
