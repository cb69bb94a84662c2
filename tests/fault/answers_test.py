#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each call with which czard, in a run of events files and of an archive's members, asks its own machine for something,
fails once, at each of its positions: making a file, sending a worker its files, naming, reading back, leasing. However
it ends, every file that has a name, and what ledger, audit record, journal and SHA256SUMS say of it, must be the truth;
a run without a fault then makes everything so.

    CZARD_BUILD=build/release tests/fault/answers_test.py [-v] [-k TEXT] [-j N]

Of each call site some positions, spread over the run. CZARD_FAULT_FULL=1: all of them."""

import errno
import hashlib
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from table import Skip, main

from crash_test import CrashBase, CrashPlace, functions, whole
from czardtest import disk_fault, package

POSITIONS = 3
TRIES = 3
FULL = bool(os.environ.get("CZARD_FAULT_FULL"))
PACKAGE = {"days": 4, "weeks": 1, "courses": 3, "sites": "edx", "rdx": 1, "odd": False, "neighbours": False, "armor": [],
           "tables": "all", "event_size": 3000, "member_size": 300}
# What each call may fail with.
ERRORS = {"sendmsg": ["ETOOMANYREFS", "ENOBUFS"], "pipe2": ["EMFILE", "ENFILE"], "fcntl": ["ENOMEM", "EINTR"]}
DISK_ERRORS = ["EIO", "ENOMEM"]


class AnswersPlace(CrashPlace):
    def begin(self, scenario):
        super().begin(scenario)
        self.config["daemon"]["workers"] = 1
        self.config["staging"]["deduplicate"] = "no"

    def faulty(self, *args, **fault):
        file = self.folder / "calls"
        roots = ":".join(map(str, (self.staging, self.state, "/calls")))
        self.fault = disk_fault.environment(file, ROOTS=roots, ALL=1, **fault)
        try:
            self.once(*args)
        finally:
            self.fault = {}
        return [(key, err, path.replace(f"{self.folder}/", ""), frames) for key, err, path, frames in disk_fault.notes(file)]


class AnswersBase(CrashBase):
    place = AnswersPlace

    def make_scenarios(self):
        shutil.rmtree(self.package)
        self.facts = package.make(self.package, **PACKAGE)
        self.scenarios = {"first": self.folder / "first"}
        with AnswersPlace(self) as p:
            p.begin("first")
            assert p.once().code == 0, p.last
            self.etags = {o["path"]: o["staged_etag"] for o in p.objects().values() if o["staged_etag"]}


# -- the truth ----------------------------------------------------------------------------------------------------------
def visible(path):
    """Where a file belongs that lies in a folder which is still being built."""
    return "/".join(part[1:-len(".partial")] if part.startswith(".") and part.endswith(".partial") else part
                    for part in Path(path).parts)


def of_file(path):
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest(), len(data)


def truth(p, when):
    """Whatever is said of a file is what the file is meant to be."""
    expected = p.folder / "expected"
    known = {}

    def compare(where, path, sha256, size=None):
        if path not in known:
            known[path] = of_file(expected / path) if (expected / path).is_file() else None
        if known[path] is None:
            p.problems.append(f"{when}: {where}: {path} is not to be there")
        elif sha256 != known[path][0]:
            p.problems.append(f"{when}: {where}: {path} has another hash")
        elif size is not None and int(size) != known[path][1]:
            p.problems.append(f"{when}: {where}: {path} has size {size}, not {known[path][1]}")

    for path in p.staging.rglob("*"):
        name = str(path.relative_to(p.staging))
        if path.is_file() and path.name not in ("CHANGES.jsonl", "MANIFEST.jsonl") and not path.is_symlink() and not any(n.startswith(".") and not n.endswith(".partial")
                                                                  for n in Path(name).parts):
            compare("staged", visible(name), *of_file(path))
    for o in p.objects().values():
        if o["is_zip"]:
            for m in p.members(o["key"]).values():
                if m["state"] == "PUBLISHED":
                    compare("ledger", f"{o['path']}/{m['path']}", m["sha256"].hex(), m["plain_size"])
        elif o["state"] == "PUBLISHED":
            compare("ledger", o["path"], o["sha256"].hex(), o["plain_size"])
    begun = (p.state / "audit.jsonl").stat().st_size > 0  # czard may have ended before it began
    for line in p.audit()[0] if begun else ():
        if line.get("path") and line.get("sha256"):
            compare("audit", line["path"], line["sha256"], line.get("size"))
    objects = p.objects()
    for e in p.last.entries:
        if "CZARD_SHA256" in e.fields and "CZARD_PATH" in e.fields:
            folder = objects[e.fields["CZARD_OBJECT"]]["path"] + "/" if "CZARD_MEMBER" in e.fields else ""
            compare("journal", folder + e.fields["CZARD_PATH"], e.fields["CZARD_SHA256"], e.fields.get("CZARD_PLAIN_SIZE"))


# -- the table ----------------------------------------------------------------------------------------------------------
@dataclass
class Row:
    site: str
    nth: int
    error: str
    where: str

    @property
    def name(self):
        return f"{self.error} at {self.where} {self.site[-8:]} #{self.nth}"

    def run(self, p):
        for _ in range(TRIES):
            p.begin("first")
            hit = [n for n in p.faulty(SITE=self.site, NTH=self.nth, ERRNO=getattr(errno, self.error)) if n[1]]
            if hit:
                break
        else:
            raise Skip(f"not reached in {TRIES} runs")
        p.check("calls that failed", len(hit), 1)
        p.check("exit status with the error", p.last.code in (0, 1, 3), True)
        truth(p, "with the error")
        if p.last.code == 0:
            whole(p, "though a call failed", hidden=True)
        p.once()
        p.check("exit status of the run after", p.last.code, 0)
        truth(p, "after")
        whole(p, "after")


def spread(n, most):
    """Positions 1 to n, at most so many, the first and the last among them."""
    return sorted({1 + round(i * (n - 1) / (most - 1)) for i in range(most)})


# What czard does before it begins, and does not go on without: crash_test has it. SQLite's own files: so too.
AT_START = ("open_all", "app_open", "startup_", "staging_open", "check_identity")


def is_of_run(path, where):
    return not path.startswith("state/ledger.db") and not any(name.startswith(AT_START) for name in where.split(" < "))


def find_rows(base):
    with AnswersPlace(base) as p:
        p.begin("first")
        notes = p.faulty()
        assert p.last.code == 0, p.last
        truth(p, "with the preload")
        whole(p, "with the preload")
        assert not p.problems, p.problems
    sites = defaultdict(list)
    for key, _, path, frames in notes:
        sites[key].append((path, frames))
    rows, turn = [], 0
    for key, calls in sites.items():
        call, path = key.split(":")[0], calls[0][0]
        where = functions("czard", calls[0][1])
        if not is_of_run(path, where):
            continue
        for nth in range(1, len(calls) + 1) if FULL else spread(len(calls), POSITIONS):
            errors = ERRORS.get(call, DISK_ERRORS)
            rows.append(Row(key, nth, errors[turn % len(errors)], f"{call} {path.split('/')[0]} by {where}"))
            turn += 1
    print(f"{len(notes)} calls at {len(sites)} sites: {len(rows)} rows")
    return rows


if __name__ == "__main__":
    main(find_rows, AnswersBase)
