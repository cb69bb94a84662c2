# SPDX-License-Identifier: Apache-2.0
"""The contenders. Each gets an empty folder and must leave there every plaintext of the package, durable: peers end
with sync(1) on their file system, because czard's files survive a power cut when it says "published". What czard does
besides (digests, gzip and zip checks, ledger, audit) nobody asks of them.

    guide     the research guide's way: aws s3 sync, unzip, a loop of gpg
    batches   the best public tool's way: aws s3 sync, unzip in a pool, gpg --decrypt-files in batches
    homes     the same with two GnuPG homes, half of the files each: gpg-agent does one operation at a time
    rclone    rclone copy, unzip, as many gpg at once as there are cores
    czard     czard --once
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from czardtest import package
from czardtest.run import World, program

from . import meter

CORES = len(os.sched_getaffinity(0))
ACCESS, SECRET = package.ACCESS_KEY_ID, package.SECRET_ACCESS_KEY
BATCH = 100
TOOLS = {"aws": "/usr/bin/aws", "rclone": "/usr/bin/rclone"}


def missing():
    return [package for package, path in (("awscli", TOOLS["aws"]), ("rclone", TOOLS["rclone"])) if not os.path.exists(path)]


UNZIP_POOL = """
import multiprocessing, os, sys, zipfile
def take(job):
    with zipfile.ZipFile(job[0]) as z:
        for name in job[2]: z.extract(name, job[1])
if __name__ == "__main__":
    names = zipfile.ZipFile(sys.argv[1]).namelist()
    for folder in {os.path.dirname(name) for name in names}:
        os.makedirs(os.path.join(sys.argv[2], folder), exist_ok=True)
    with multiprocessing.Pool() as pool:
        pool.map(take, [(sys.argv[1], sys.argv[2], names[i:i + 100]) for i in range(0, len(names), 100)])
"""

# $1: a home. One file each time.
GPG = "gpg --homedir {home} --batch --quiet --no-tty --trust-model always {passphrase}"


class Peer:
    """Everything below one folder in /tmp, gone at the end."""

    def __init__(self, world):
        self.world = world

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="czb.", dir="/tmp")
        self.folder = Path(self._temporary.name)
        self.out = self.folder / "out"
        self.out.mkdir()
        return self

    def __exit__(self, *_):
        self._temporary.cleanup()

    def homes(self, n):
        for i in range(n):
            home = self.folder / f"h{i}"
            shutil.copytree(self.world.package / "gnupg", home)
            home.chmod(0o700)

    def gpg(self, home=0):
        file = self.world.passphrase_file
        return GPG.format(home=self.folder / f"h{home}",
                          passphrase=f"--pinentry-mode loopback --passphrase-file {file}" if file else "")

    def environment(self):
        url = self.world.endpoint
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "AWS_ACCESS_KEY_ID": ACCESS,
                "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
                "RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S3_TYPE": "s3", "RCLONE_CONFIG_S3_PROVIDER": "Other",
                "RCLONE_CONFIG_S3_ACCESS_KEY_ID": ACCESS, "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": SECRET,
                "RCLONE_CONFIG_S3_ENDPOINT": url, "RCLONE_CONFIG_S3_NO_CHECK_BUCKET": "true",
                "RCLONE_CONFIG_S3_LIST_VERSION": "2"}

    def places(self):
        """[(bucket, prefix)] that hold something of this package."""
        buckets = {o["bucket"] for o in self.world.facts["objects"]}
        return [(b, f"{self.world.facts['org']}/" if b == package.EVENTS_BUCKET else "") for b in sorted(buckets)]

    def aws(self):
        return "\n".join(f"{TOOLS['aws']} --endpoint-url {self.world.endpoint} s3 sync --only-show-errors "
                         f"s3://{bucket}/{prefix} {self.out}/{bucket}" for bucket, prefix in self.places())

    def rclone(self):
        return "\n".join(f"{TOOLS['rclone']} copy S3:{bucket}/{prefix} {self.out}/{bucket}" for bucket, prefix in self.places())

    def unzip(self):
        return f"find {self.out} -name '*.zip' -execdir unzip -q '{{}}' ';'"

    def unzip_in_pool(self):
        tool = self.folder / "unzip.py"
        tool.write_text(UNZIP_POOL)
        return (f"find {self.out} -name '*.zip' | while read -r z; do /usr/bin/python3 {tool} \"$z\" \"$(dirname \"$z\")\"; "
                "done")

    # -- the ways -----------------------------------------------------------------------------------------------
    def guide(self):
        self.homes(1)
        return f"""{self.aws()}
{self.unzip()}
find {self.out} -name '*.gpg' | while read -r f; do {self.gpg()} --output "${{f%.gpg}}" --decrypt "$f"; done
sync -f {self.out}"""

    def batches(self):
        self.homes(1)
        return f"""{self.aws()}
{self.unzip_in_pool()}
find {self.out} -name '*.gpg' -print0 | xargs -0 -n {BATCH} {self.gpg()} --decrypt-files
sync -f {self.out}"""

    def two_homes(self):
        self.homes(2)
        return f"""{self.aws()}
{self.unzip_in_pool()}
find {self.out} -name '*.gpg' | sort > {self.folder}/all
split -n r/2 {self.folder}/all {self.folder}/half.
xargs -n {BATCH} {self.gpg(0)} --decrypt-files < {self.folder}/half.aa & first=$!
xargs -n {BATCH} {self.gpg(1)} --decrypt-files < {self.folder}/half.ab
wait $first
sync -f {self.out}"""

    def rclone_parallel(self):
        self.homes(1)
        one = self.folder / "one"
        one.write_text(f'#!/bin/sh\nexec {self.gpg()} --output "${{1%.gpg}}" --decrypt "$1"\n')
        one.chmod(0o755)
        return f"""{self.rclone()}
{self.unzip()}
find {self.out} -name '*.gpg' -print0 | xargs -0 -n 1 -P {CORES} {one}
sync -f {self.out}"""

    def run(self, way):
        return meter.run(getattr(self, way)(), self.environment(), self.folder)

    def staged(self):
        return {p.name: p for p in self.out.rglob("*") if p.is_file() and p.suffix not in (".gpg", ".zip")}


class Czard(World):
    """czard --once, or the daemon, on a package that is there already."""

    def __init__(self, world):  # pylint: disable=super-init-not-called
        self.build, self.w = world.build, world
        self.package, self.facts, self.org = world.package, world.facts, world.facts["org"]
        self.passphrase = None
        self.package_options = {"passphrase_file": world.passphrase_file}

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="czb.", dir="/tmp"))
        self.staging, self.state = self.folder / "staging", self.folder / "state"
        for path in (self.state, self.staging):
            path.mkdir()
            path.chmod(0o750)
        # In memory, as /run is: on a disk the key keeps the S2K that it has, which costs each start some seconds.
        self.run_folder = Path(tempfile.mkdtemp(prefix="czb.", dir="/dev/shm"))
        self.config = self._default_config()
        self.config["daemon"]["log_level"] = "info"
        self.use(self.w.endpoint, tls_endpoint=False)
        return self

    def __exit__(self, *args):
        shutil.rmtree(self.run_folder, ignore_errors=True)
        return super().__exit__(*args)

    def measure(self):
        command = [program("czard", self.build), "--config", self.ini(), "--once"]
        return meter.run(command, self.environment())

    def events(self, *names):
        """czard --once: {name: [seconds from its start at which it said so]}"""
        said, began = {name: [] for name in names}, time.monotonic()
        with subprocess.Popen([program("czard", self.build), "--config", self.ini(), "--once"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.environment(), cwd="/") as p:
            text = []
            for line in p.stderr:
                text.append(line)
                for name in names:
                    if f" CZARD_EVENT={name} " in line:
                        said[name].append(time.monotonic() - began)
        if p.returncode:
            raise RuntimeError("".join(text)[-3000:])
        return said

    def staged(self):
        return {p.name: p for p in self.staging.rglob("*")
                if p.is_file() and p.name not in ("SHA256SUMS", "MANIFEST.jsonl", "CHANGES.jsonl", ".czard-id") and not p.is_symlink()}

    # -- the daemon at rest -------------------------------------------------------------------------------------
    def cpu(self, pids):
        """Seconds of CPU of these processes, to the nanosecond: of all their threads that live."""
        total = 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def polls(self, count, interval):
        """The running daemon with everything known: (CPU a poll, Pss of its processes) over `count` polls."""
        self.config["daemon"].update(poll_interval=f"{interval}s", full_list_interval="1d")
        errors = self.folder / "daemon.log"
        with errors.open("wb") as stderr:
            child = subprocess.Popen([program("czard", self.build), "--config", self.ini()], stdin=subprocess.DEVNULL,
                                     stderr=stderr, env=self.environment(), cwd="/")
        try:
            def done():
                return errors.read_text().count("CZARD_EVENT=poll-done")

            def wait(n, seconds=600):
                end = time.monotonic() + seconds
                while done() < n:
                    if child.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"the daemon does not poll:\n{errors.read_text()[-2000:]}")
                    time.sleep(0.02)

            wait(2)  # the first one is a full listing
            time.sleep(0.2)
            pids = [child.pid, *meter.descendants(child.pid)]
            start, before, self.requests_before = done(), self.cpu(pids), self.w.requests()
            wait(start + count)
            time.sleep(0.2)
            polls = done() - start
            return ((self.cpu(pids) - before) / polls, sum(meter.memory(pid) for pid in pids), polls)
        finally:
            child.terminate()
            child.wait(30)


def check(facts, package_folder, staged, share=1):
    """Is every plaintext there, byte for byte? Raises when not."""
    expected = {p.name: p for p in (package_folder / "expected").rglob("*")
                if p.is_file() and p.name != "SHA256SUMS" and not p.is_symlink()}
    if share == 1 and set(expected) - set(staged):
        raise RuntimeError(f"{len(set(expected) - set(staged))} files are missing: {sorted(set(expected) - set(staged))[:3]}")
    for name, path in expected.items():
        if subprocess.run(["cmp", "-s", path, staged[name]], check=False).returncode if path.stat().st_size > 1 << 20 \
                else path.read_bytes() != staged[name].read_bytes():
            raise RuntimeError(f"{name} is not what it should be")
    return len(expected)
