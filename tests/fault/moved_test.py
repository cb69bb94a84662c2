#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A replaced file whose path changes (events_format), while each call that names it fails once: after the next run the new
version has its name, the old one is kept as .replaced, and nothing stands under the old name."""

import gzip
import shutil
import sys

from table import Base, Place
from czardtest import disk_fault

CALLS = ("linkat", "fsync", "fchmod", "futimens", "renameat", "mkdirat")


class MovedPlace(Place):
    fault = {}

    def environment(self):
        return {**super().environment(), **self.fault}


def copy(source, target):
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target, symlinks=True)


def main():
    failures = rows = 0
    with Base() as base, MovedPlace(base) as p:
        assert p.once().code == 0
        o = base.find("events")
        old = (p.staging / o["path"]).read_bytes()
        new = b'{"event":"another"}\n' * 300
        p.put(o["bucket"], o["key"], base.keys.encrypt(gzip.compress(new, mtime=0)))
        p.config["staging"]["events_format"] = "plain"
        state, staging, log = p.folder / "state-before", p.folder / "staging-before", p.folder / "calls"
        copy(p.state, state)
        copy(p.staging, staging)
        p.fault = disk_fault.environment(log, ROOTS=str(p.staging))
        assert p.once().code == 0
        sites = [note[0] for note in disk_fault.notes(log) if note[0].split(":")[0] in CALLS]
        assert len(set(sites)) >= 4, sites
        for site in dict.fromkeys(sites):
            rows += 1
            copy(state, p.state)
            copy(staging, p.staging)
            p.fault = disk_fault.environment(log, ROOTS=str(p.staging), SITE=site, NTH=1, LAST=6, ERRNO=5)
            p.once()
            p.fault = {}
            code = p.once().code
            folder = (p.staging / o["path"]).parent
            plain = (p.staging / o["path"]).with_suffix("")
            kept = [f.read_bytes() for f in folder.rglob(".replaced/*") if f.is_file()]
            found = {"exit status": code, "new": plain.exists() and plain.read_bytes() == new, "kept": kept == [old],
                     "old name": (p.staging / o["path"]).exists()}
            if found != {"exit status": 0, "new": True, "kept": True, "old name": False}:
                failures += 1
                print(f"FAILED  {site} fails once: {found}")
    print(f"{rows} rows: {rows - failures} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
