# SPDX-License-Identifier: Apache-2.0
"""Small things that the package maker and its poisons share."""

import calendar
import hashlib
import os
import time
from pathlib import Path


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def utc(date, clock="05:12:09"):
    return calendar.timegm(time.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S"))


def write_sums(folder, sums):
    """SHA256SUMS as sha256sum -c reads it: {path below folder: hex}, by bytes of the path."""
    lines = [f"{sums[name]}  {name}\n".encode() for name in sorted(sums, key=os.fsencode)]
    Path(folder, "SHA256SUMS").write_bytes(b"".join(lines))
