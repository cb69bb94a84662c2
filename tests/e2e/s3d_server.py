# SPDX-License-Identifier: Apache-2.0
"""What the tests of the stand-in for S3 share: a server in a folder, and the bytes and checksums that it must make."""
import base64
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import sigv4

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CZARD_BUILD") or ROOT / "build/release")
MIB = 1 << 20
MASK64 = (1 << 64) - 1

CREDENTIALS = """# ACCESS SECRET [TOKEN] [policy=]
OWNER owner-secret/+ policy=open
CZAR czar-secret
OTHER other-secret policy=czar:otheru
TEMP temp-secret the-token policy=open
"""


def generated(seed, offset, n):
    """splitmix64, as content.h documents it."""
    first, out = offset // 8, bytearray()
    for i in range(first, (offset + n) // 8 + 1):
        z = (seed + (i + 1) * 0x9e3779b97f4a7c15) & MASK64
        z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & MASK64
        out += struct.pack("<Q", z ^ (z >> 31))
    return bytes(out[offset - first * 8:][:n])


def crc_by_bit(data, polynomial, bits):
    """A reflected CRC, one bit at a time."""
    crc = ones = (1 << bits) - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (polynomial if crc & 1 else 0)
    return (crc ^ ones).to_bytes(bits // 8, "big")


def b64(data):
    return base64.b64encode(data).decode()


class Server:
    def __init__(self, folder, *options, default_policy="czar:universityx", tls=None):
        self.folder = pathlib.Path(folder)
        self.root, self.behaviours = self.folder / "root", self.folder / "behaviours"
        for d in (self.root, self.behaviours):
            d.mkdir(exist_ok=True)
        self.credentials = self.folder / "credentials"
        if not self.credentials.exists():
            self.credentials.write_text(CREDENTIALS)
        self.log, self.port_file = self.folder / "log", self.folder / "port"
        self.port_file.unlink(missing_ok=True)
        self.command = [BUILD / "tests/s3d/s3d", "--root", self.root, "--credentials", self.credentials, "--port-file",
                        self.port_file, "--log", self.log, "--behaviour-dir", self.behaviours, "--policy", default_policy,
                        *(["--tls", *tls] if tls else []), *options]
        self.child = subprocess.Popen([str(a) for a in self.command], stdin=subprocess.DEVNULL)
        end = time.monotonic() + 90
        while not self.port_file.exists():
            if self.child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"s3d did not start: {self.child.poll()}")
            time.sleep(0.01)
        self.port = int(self.port_file.read_text())

    def stop(self):
        """Returns (exit status, seconds)."""
        start = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(90), time.monotonic() - start

    def client(self, access="OWNER", secret="owner-secret/+", **kwargs):
        return sigv4.Client("127.0.0.1", self.port, access, secret, **kwargs)

    def czar(self, **kwargs):
        return self.client("CZAR", "czar-secret", **kwargs)

    def add(self, bucket, key, data=None, **meta):
        for base, content in ((self.root / bucket, data), (self.root / ".meta" / bucket,
                              "".join(f"{n}={v}\n" for n, vs in meta.items() for v in (vs if type(vs) is list else [vs]))
                              .encode() if meta else None)):
            if content is not None:
                path = base / key
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.parent / f"{path.name}.new"
                temporary.write_bytes(content)
                temporary.rename(path)

    def behave(self, text, name="behaviour"):
        """In place and at once: the next request must see it."""
        (self.behaviours / name).write_text(text)

    def requests(self):
        return [line.split(" ") for line in self.log.read_text().splitlines()] if self.log.exists() else []


class Case(unittest.TestCase):
    options = ()

    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="s3d-test.", dir="/tmp"))
        self.server = Server(folder, *self.options)
        self.addCleanup(self.stop)
        self.owner, self.czar = self.server.client(), self.server.czar()

    def stop(self):
        if self.server.child.poll() is None:
            status, _ = self.server.stop()
            self.assertEqual(status, 0)

    def assert_error(self, response, status, code):
        self.assertEqual((response.status, sigv4.error_code(response)), (status, code))
