# SPDX-License-Identifier: Apache-2.0
"""Weekly archives member by member, for tests that must know exactly what is in them: encrypted with the keys of a
World, packed by zipfile in the order given, put where S3 serves them."""

import io
import os
import tempfile
import time
import zipfile
from pathlib import Path

from . import content, keys, package
from .common import PATIENCE
from .run import World
from .s3d import S3d

OPTIONS = {"days": 0, "weeks": 0, "courses": 0, "rdx": 0, "neighbours": False}


def member(name, mode=0o100644):
    info = zipfile.ZipInfo(name, (2024, 7, 7, 1, 2, 4))
    info.external_attr = mode << 16
    info.create_system = 3
    return info


class RawZipFile(zipfile.ZipFile):
    """Writes every name as it is given: backslashes, control characters and doubles too."""

    def _writecheck(self, zinfo):
        pass


class Archives:
    """A World on a stand-in whose buckets hold only what the test puts there."""

    def __init__(self, **options):
        self.world = World(with_tls=False, **{**OPTIONS, **options})

    def __enter__(self):
        self.world.__enter__()
        try:
            bits = self.world.package_options.get("key_bits", 2048)
            self.keys = keys.key_set(keys.cache_folder(self.world.package / ".cache"), self.world.org, 1, bits,
                                     self.world.passphrase)
            self.s3 = S3d(self.world.package, self.world.facts)
            self.s3.__enter__()
            self.world.use(self.s3.endpoint, tls_endpoint=False)
        except BaseException:
            self.world.__exit__()
            raise
        self.bucket = self.world.package / "buckets" / package.DATABASE_BUCKET
        self.org = self.world.org
        return self

    def __exit__(self, *_):
        self.s3.__exit__()
        self.world.__exit__()

    def fresh(self):
        """Empty buckets, empty staging, a czard that knows nothing, a server that behaves."""
        self.world.fresh()
        self.world.config["daemon"]["workers"] = 2
        self.world.package_section["categories"] = "database"
        self.bucket.mkdir(parents=True, exist_ok=True)
        for file in self.bucket.rglob("*"):
            if file.is_file():
                file.unlink()
        for file in self.s3.behaviours.iterdir():
            file.unlink()
        self.s3.forget_requests()

    # -- what is in an archive ----------------------------------------------------------------------------------
    def encrypt(self, members, *options):
        """{path without .gpg: plaintext} -> {path: message}"""
        with tempfile.TemporaryDirectory(prefix="czz.", dir="/tmp") as folder:
            files = [Path(folder, str(n)) for n in range(len(members))]
            for file, data in zip(files, members.values()):
                file.write_bytes(data)
            if files:
                self.keys.encrypt_files(files, *options)
            return {path: Path(f"{file}.gpg").read_bytes() for path, file in zip(members, files)}

    def entries(self, date, members, *options):
        """[(name, message)] below the folder of that date."""
        return [(f"{self.org}-{date}/{path}.gpg", data) for path, data in self.encrypt(members, *options).items()]

    def pack(self, entries, compression=zipfile.ZIP_STORED):
        """entries: (name or ZipInfo, bytes)"""
        out = io.BytesIO()
        with RawZipFile(out, "w", compression) as z:
            for name, data in entries:
                info = member(name) if isinstance(name, str) else name
                info.compress_type = compression
                with z.open(info, "w") as f:
                    f.write(data)
        return out.getvalue()

    def key(self, date):
        return f"{self.org}-{date}.zip"

    def put(self, date, data, modified=None):
        path = self.bucket / self.key(date)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(data)
        modified = modified or package.utc(date, "20:31:44")
        os.utime(temporary, (modified, modified))
        temporary.rename(path)

    def put_members(self, date, members, **kwargs):
        """The usual: all of members, in one archive. Returns its bytes."""
        data = self.pack(self.entries(date, members))
        self.put(date, data, **kwargs)
        return data

    # -- what came of it ----------------------------------------------------------------------------------------
    def folder(self, date):
        return self.world.staging / self.org / "database" / date

    def staged(self, date):
        """{path: bytes} without SHA256SUMS, MANIFEST.jsonl and REJECTED, or None when there is no such folder."""
        top = self.folder(date)
        if not top.is_dir():
            return None
        return {file.relative_to(top).as_posix(): file.read_bytes() for file in top.rglob("*")
                if file.is_file() and file.name not in ("SHA256SUMS", "MANIFEST.jsonl", "REJECTED")}

    def rejected(self, date):
        """{member: cause} of the REJECTED file; {} when there is none."""
        file = self.folder(date) / "REJECTED"
        if not file.exists():
            return {}
        rows = [line.split("\t", 1) for line in file.read_text().splitlines()]
        return {name: cause for cause, name in rows}

    def latest(self):
        link = self.world.staging / self.org / "database" / "latest"
        return os.readlink(link) if link.is_symlink() else None

    def gets(self, date=None):
        return [r for r in self.s3.requests() if r.op == "get" and (date is None or r.key == self.key(date))]

    def sent(self, date):
        return sum(r.sent for r in self.gets(date))


def directory_bytes(data):
    """How large the directory of an archive is, end records and all."""
    return len(data) - zipfile.ZipFile(io.BytesIO(data)).start_dir


def table_name(course, table):
    return f"{course}-{table}-prod-analytics.sql"


def course(rng, name, tables, size=2000):
    """{path: plaintext} of a course whose text hardly compresses."""
    return {table_name(name, table): b"id\tvalue\n" + rng.randbytes(size // 2).hex().encode() + b"\n"
            for table in tables}


def wait_until(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


TABLES = content.TABLES
