#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each call with which czard asks for memory, in a run of events files and of an archive's members, fails once. However
the run ends, czard has not crashed, nothing that is staged is wrong, and it says that all is done only when it is; a run
without a fault then makes everything so.

    CZARD_BUILD=build/release tests/fault/memory_test.py [-v] [-k TEXT] [-j N]

Of each call site the first time, one in the middle and the last. CZARD_FAULT_FULL=1: more of them."""

import bisect
import os
import struct
import subprocess
from dataclasses import dataclass

from table import main

from answers_test import AnswersBase, AnswersPlace, spread, truth
from crash_test import whole
from czardtest.run import build_folder

SITES = 4096
POSITIONS = 9 if os.environ.get("CZARD_FAULT_FULL") else 3


class MemoryPlace(AnswersPlace):
    def lacking(self, site=0, nth=0):
        """A run in which that call fails. {site: calls}"""
        log = self.folder / "sites"
        log.write_bytes(bytes(SITES * 16))
        self.fault = {"LD_PRELOAD": str(build_folder() / "tests/no_memory.so"), "NO_MEMORY_PROGRAM": "czard",
                      "NO_MEMORY_LOG": str(log), "NO_MEMORY_SITE": f"{site:x}", "NO_MEMORY_NTH": str(nth)}
        try:
            self.once()
        finally:
            self.fault = {}
        return {site: calls for site, calls in struct.iter_unpack("<QQ", log.read_bytes()) if site}


class MemoryBase(AnswersBase):
    place = MemoryPlace


def functions():
    """What tells the function of an address."""
    out = subprocess.run(["nm", "--defined-only", build_folder() / "daemon/czard/czard"], capture_output=True, text=True,
                         check=True).stdout
    known = sorted((int(a, 16), name) for a, kind, name in map(str.split, out.splitlines()) if kind in "tT")
    return lambda site: known[bisect.bisect(known, (site,)) - 1][1]


@dataclass
class Row:
    site: int
    nth: int
    where: str

    @property
    def name(self):
        return f"{self.where} {self.site:x} #{self.nth}"

    def run(self, p):
        p.begin("first")
        p.lacking(self.site, self.nth)
        p.check("exit status without memory", p.last.code in (0, 1, 3), True)
        if (p.state / "ledger.db").exists():  # it may have ended before that was made
            truth(p, "without memory")
        if p.last.code == 0:
            whole(p, "though memory was short", hidden=True)
        p.once()
        p.check("exit status of the run after", p.last.code, 0)
        truth(p, "after")
        whole(p, "after")


def find_rows(base):
    with MemoryPlace(base) as p:
        p.begin("first")
        sites = p.lacking()
        assert p.last.code == 0, p.last
        whole(p, "with the preload")
        assert not p.problems, p.problems
    name = functions()
    rows = [Row(site, nth, name(site)) for site, calls in sorted(sites.items()) for nth in spread(calls, POSITIONS)]
    print(f"{sum(sites.values())} calls at {len(sites)} sites: {len(rows)} rows")
    return rows


if __name__ == "__main__":
    main(find_rows, MemoryBase)
