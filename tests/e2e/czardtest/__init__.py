# SPDX-License-Identifier: Apache-2.0
"""What czard's end-to-end tests share: packages of the real shape, S3 servers, and a czard to run on them."""

import sys
import unittest


def main():
    """unittest.main() that ends with 77, "skipped", when no test of the file could run."""
    result = unittest.main(module="__main__", exit=False).result
    if result.wasSuccessful() and result.skipped and len(result.skipped) >= result.testsRun:
        sys.exit(77)
    sys.exit(not result.wasSuccessful())
