# SPDX-License-Identifier: Apache-2.0
"""tests/s3d, the stand-in that can play every behaviour of S3, as a fixture."""

import os
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

from .common import PATIENCE
from .run import DIE_WITH_PARENT, program


class Request:
    """One line of the stand-in's log."""

    def __init__(self, line):
        method, bucket, key, op, span, status, sent, *more = line.split(" ")
        decode = urllib.parse.unquote
        self.method, self.bucket, self.key, self.op = method, decode(bucket), decode(key), op
        self.range, self.status, self.sent = span, int(status), int(sent)
        self.more = {name: decode(value) for name, _, value in (m.partition("=") for m in more)}

    @property
    def connection(self):
        """The number of the TCP connection that it came on."""
        return int(self.more["connection"])

    @property
    def at_once(self):
        """How many GETs were under way when this one came, itself included."""
        return int(self.more.get("at_once", 0))

    def __repr__(self):
        return f"{self.op} {self.bucket}/{self.key} {self.range} {self.status} {self.sent} {self.more}"


class S3d:
    """with S3d(package folder, facts, certificate=(crt, key)) as s3: s3.endpoint, s3.requests(), s3.behave(…)"""

    def __init__(self, folder, facts, certificate=None, build=None, options=(), policy=None):
        self.root, self.facts, self.certificate = Path(folder) / "buckets", facts, certificate
        self.build, self.options, self.policy = build, options, policy or f"czar:{facts['org']}"
        self.child = None

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="s3d.", dir="/tmp")
        self.folder = Path(self._temporary.name)
        self.behaviours = self.folder / "behaviours"
        self.behaviours.mkdir()
        self.log = self.folder / "log"
        keys = self.folder / "credentials"
        keys.write_text(f"{self.facts['access_key_id']} {self.facts['secret_access_key']}\n")
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        self._temporary.cleanup()

    def start(self, port=0):
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        tls = ["--tls", *self.certificate[:2]] if self.certificate else []
        command = [*DIE_WITH_PARENT, program("s3d", self.build), "--root", self.root, "--credentials", self.folder / "credentials",
                   "--port", port, "--port-file", port_file, "--policy", self.policy, "--log", self.log,
                   "--behaviour-dir", self.behaviours, *tls, *self.options]
        end = time.monotonic() + PATIENCE
        self.child = subprocess.Popen([str(a) for a in command], stdin=subprocess.DEVNULL)
        while not port_file.exists():
            if time.monotonic() > end or self.child.poll() is not None and not port:
                raise RuntimeError(f"s3d did not start ({self.child.poll()})")
            if self.child.poll() is not None:  # somebody may have its old port for a moment, to connect from
                self.child = subprocess.Popen([str(a) for a in command], stdin=subprocess.DEVNULL)
            time.sleep(0.01 if self.child.poll() is None else 0.2)
        self.port = int(port_file.read_text())

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    @property
    def endpoint(self):
        return f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    def requests(self):
        return [Request(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def forget_requests(self):
        if self.log.exists():
            os.truncate(self.log, 0)

    def behave(self, name, **lines):
        """A behaviour file, complete when it appears. See tests/s3d/behave.h."""
        temporary = self.behaviours / f".{name}"
        temporary.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
        temporary.rename(self.behaviours / name)
