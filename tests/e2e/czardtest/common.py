# SPDX-License-Identifier: Apache-2.0
"""Small things that the package maker and its poisons share."""

import calendar
import datetime
import hashlib
import os
import tempfile
import time
from pathlib import Path

# Seconds for what is to come: many, for where nothing is wrong nobody waits for them.
PATIENCE = 90
# What a test that goes by the date may take.
LONGEST = 300
# What tests that run side by side have in memory at the same time, with a margin.
ROOM_IN_MEMORY = 4 << 30


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def place_for_folders():
    """Where tests make their folders: in memory, where there is room, for what they wait for most is the disk, with each
    fsync and each file removed. $CZARD_TEST_FOLDERS names another place."""
    place = "/dev/shm"
    if os.environ.get("CZARD_TEST_FOLDERS"):
        return os.environ["CZARD_TEST_FOLDERS"]
    if not os.access(place, os.W_OK):
        return "/tmp"
    found = os.statvfs(place)
    has_room = min(found.f_bavail * found.f_frsize, available_memory()) >= ROOM_IN_MEMORY
    return place if has_room and not found.f_flag & os.ST_NOEXEC else "/tmp"


def make_folder(prefix):
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place_for_folders()))


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def today():
    """The date as czard has it, in UTC. Not in the last minutes of a day: what is made of it must be of today to the end."""
    left = 86400 - time.time() % 86400
    if left < LONGEST:
        time.sleep(left + 1)
    return datetime.datetime.now(datetime.timezone.utc).date()


def utc(date, clock="05:12:09"):
    return calendar.timegm(time.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S"))


def write_sums(folder, sums):
    """SHA256SUMS as sha256sum -c reads it: {path below folder: hex}, by bytes of the path."""
    lines = [f"{sums[name]}  {name}\n".encode() for name in sorted(sums, key=os.fsencode)]
    Path(folder, "SHA256SUMS").write_bytes(b"".join(lines))
