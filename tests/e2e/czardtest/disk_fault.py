# SPDX-License-Identifier: Apache-2.0
"""The preload that stands before each call with which a program changes the disk (tests/fault/preload/disk_fault.c)."""

import os

from czardtest.run import build_folder

LOG_SIZE = 4 << 20
LOG_HEAD = 16


def environment(log, who="czard", **settings):
    """What makes it note the calls of a program in log, which begins anew. settings: ROOTS, SITE, NTH and so on."""
    log.touch()
    os.truncate(log, 0)
    os.truncate(log, LOG_SIZE)
    named = {"PROGRAM": who, "LOG": log, **settings}
    return {"LD_PRELOAD": str(build_folder() / "tests/disk_fault.so"), **{f"DISK_FAULT_{k}": str(v) for k, v in named.items()}}


def notes(log):
    """[(call:site, errno, path, frames)]"""
    found = []
    for line in log.read_bytes()[LOG_HEAD:].rstrip(b"\0").decode().splitlines():
        key, err, path, *frames = line.split(" ")
        found.append((key, int(err), path, tuple(frames)))
    return found
