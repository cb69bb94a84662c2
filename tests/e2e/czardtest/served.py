# SPDX-License-Identifier: Apache-2.0
"""A test with a package, a server that serves it, and czard and czarctl on both."""

import subprocess
import unittest

from .run import World, program
from .s3d import S3d


class Commands(unittest.TestCase):
    """Needs self.w, a World."""

    def ctl(self, *args, code=0, **kwargs):
        done = subprocess.run([program("czarctl"), "--config", str(self.w.ini()), *args], env=self.w.environment(),
                              capture_output=True, text=True, timeout=600, check=False, **kwargs)
        self.assertIn(done.returncode, [code] if code is not None else [0, 1, 2, 3], done)
        return done.stdout

    def once(self, code=0):
        done = self.w.once()
        self.assertEqual(done.code, code, done)
        return done


class Served(Commands):
    package = {}

    def setUp(self):
        self.w = self.enterContext(World(with_tls=False, **self.package))
        self.s3 = self.enterContext(S3d(self.w.package, self.w.facts))
        self.w.use(self.s3.endpoint, tls_endpoint=False)
