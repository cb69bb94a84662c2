# SPDX-License-Identifier: Apache-2.0
"""What tests/bench/run is made of:

    meter.py    runs one contender: wall clock, CPU seconds of all its processes, peak of their memory together
    packages.py the data packages of the scenarios
    peers.py    the contenders: czard, and what people use today
    floor.py    what cannot be faster: RSA operations, download, gpg, gzip, MD5
    report.py   medians and ratios
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS / "e2e"))
