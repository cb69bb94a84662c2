# SPDX-License-Identifier: Apache-2.0
"""A real S3 server that we did not write: Ceph's RADOS gateway, with one monitor and one OSD in memory.

All its state is in one folder, all its sockets are on loopback. It is up in a few seconds."""

import collections
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import uuid
from pathlib import Path

from .common import PATIENCE
from .run import DIE_WITH_PARENT
from .s3client import S3Client, czar_policies

PROGRAMS = ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool"]

# paxos_propose_interval: else each step of the start waits for a second. ms_mon_client_mode: else the gateway hangs.
# log_max_recent: else a third of the throughput goes into the log ring. mon_data_avail_*: full disks are no matter here.
CONFIG = """[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_ipv6 = false
ms_mon_client_mode = crc
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 5000
mon_osd_full_ratio = 0.99
mon_osd_backfillfull_ratio = 0.98
mon_osd_nearfull_ratio = 0.97
osd_failsafe_full_ratio = 0.995
mon_data_avail_crit = 0
mon_data_avail_warn = 0
paxos_propose_interval = 0.05
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
pid_file = {folder}/run/$name.pid
log_file = {folder}/log/$name.log
log_max_recent = 500
crash_dir = {folder}/crash
keyring = {folder}/keyring
setuser =
setgroup =
osd_objectstore = memstore
memstore_device_bytes = {memory}
[mon.a]
mon_data = {folder}/mon
[osd.0]
osd_data = {folder}/osd
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1{tls}
rgw_dns_name = {host}
rgw_enable_usage_log = false
rgw_enable_gc_threads = false
rgw_enable_lc_threads = false
rgw_dynamic_resharding = false
rgw_thread_pool_size = 32
"""

ACCESS = re.compile(r'beast: \S+: 127\.0\.0\.1 - (\S+) \[[^]]*\] "([A-Z]+) ([^ ?]+)(?:\?(\S*))? HTTP/1\.1" (\d+) (\d+) \S+ \S+ (\S+)')
Request = collections.namedtuple("Request", "user method path query status sent range")


def missing_programs():
    return [p for p in PROGRAMS if shutil.which(p) is None]


def free_ports(n):
    """Ports nobody listens on now. Held together until all are chosen, so that they differ."""
    held = []
    for _ in range(n):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        held.append(s)
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class RadosGateway:
    """with RadosGateway(certificate=PEM) as s3: …; s3.port is plain HTTP, s3.tls_port TLS (with a certificate).

    certificate: a PEM file with chain and key. memory: bytes the objects may take. host: for virtual-host addressing."""

    def __init__(self, certificate=None, memory=2 << 30, host="localhost"):
        self.certificate, self.memory, self.host = certificate, memory, host
        self.running, self.marks = [], 0

    def __enter__(self):
        for attempt in (1, 2, 3):  # a port may have been taken in between
            self.folder = Path(tempfile.mkdtemp(prefix="rgw.", dir="/tmp"))
            try:
                self._start()
                return self
            except (RuntimeError, subprocess.SubprocessError, OSError):
                self._stop()
                if attempt == 3:
                    raise
        return self

    def __exit__(self, *_):
        self._stop()

    # -- start and stop -------------------------------------------------------------------------------------------
    def _start(self):
        mon_port, self.port, self.tls_port = free_ports(3)
        for name in ("run", "log", "crash", "mon", "osd"):
            (self.folder / name).mkdir()
        (self.folder / "keyring").touch()
        tls = f" ssl_endpoint=127.0.0.1:{self.tls_port} ssl_certificate={self.certificate}" if self.certificate else ""
        fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.config = self.folder / "ceph.conf"
        self.config.write_text(CONFIG.format(fsid=fsid, mon_port=mon_port, folder=self.folder, memory=self.memory,
                                             port=self.port, tls=tls, host=self.host))
        monmap = self.folder / "monmap"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._spawn("ceph-mon", "-i", "a")
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd_id, timeout=90)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd_id)
        self.osd = self._spawn("ceph-osd", "-i", "0")
        self._wait("the OSD", lambda: json.loads(self._run("ceph", "osd", "stat", "-f", "json"))["num_up_osds"] == 1)
        self._spawn("radosgw", "-n", "client.rgw")
        self._wait("the gateway", self._answers)

    def _environment(self):
        return {**os.environ, "CEPH_CONF": str(self.config), "HOME": str(self.folder)}

    def _run(self, program, *args, timeout=60):
        done = subprocess.run([program, "-c", str(self.config), *map(str, args)], capture_output=True, timeout=timeout,
                              env=self._environment(), check=False)
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(map(str, args))}: {done.stderr.decode(errors='replace')[-1500:]}")
        return done.stdout

    def _spawn(self, program, *args):
        out = (self.folder / "log" / f"{program}.out").open("wb")
        # cwd: Debian 13's ceph-osd looks for its classes, without which the gateway does not start, in lib/... from there.
        child = subprocess.Popen([*DIE_WITH_PARENT, program, "-c", str(self.config), "-f", *args], stdout=out, stderr=out,
                                 stdin=subprocess.DEVNULL, env=self._environment(), start_new_session=True, cwd="/")
        out.close()
        self.running.append((program, child))
        return child

    def _wait(self, what, ready, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for program, child in self.running:
                if child.poll() is not None:
                    said = (self.folder / "log" / f"{program}.out").read_text(errors="replace")[-1500:]
                    raise RuntimeError(f"{program} ended with {child.returncode}: {said}")
            if ready():
                return
            time.sleep(0.1)
        raise RuntimeError(f"{what} is not up after {seconds} s")

    def _answers(self, path="/"):
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            c.request("GET", path, headers={"Host": "127.0.0.1"})
            status = c.getresponse().status
            c.close()
            return status == 200
        except OSError:
            return False

    def _stop(self):
        """Gateway, OSD, monitor: the reverse order of starting."""
        for program, child in reversed(self.running):
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.terminate() if program == "radosgw" else child.kill()  # the rest has nothing to keep
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.running = []
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what tests use -------------------------------------------------------------------------------------------
    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_endpoint(self):
        return f"https://localhost:{self.tls_port}"

    def add_user(self, name, access_key_id, secret_access_key):
        self._run("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}",
                  f"--access-key={access_key_id}", f"--secret-key={secret_access_key}")

    def serve(self, folder, facts, owner=("OWNERACCESSKEY000000", "owner/secret+key")):
        """Uploads the buckets of a package and lets its data czar in, by bucket policies. Returns the owner's client."""
        self.add_user("owner", *owner)
        self.add_user("czar", facts["access_key_id"], facts["secret_access_key"])
        client = S3Client(self.endpoint, *owner)
        for bucket, policy in czar_policies(facts["org"], "arn:aws:iam:::user/czar").items():
            client.make_bucket(bucket)
            client.put_policy(bucket, json.dumps(policy))
            root = Path(folder) / "buckets" / bucket
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                client.upload(bucket, path.relative_to(root).as_posix(), path)
        return client

    def requests(self):
        """What the gateway answered, but for the owner's own requests, in order."""
        # It writes its log a little later, and in order: one more request, and what comes before that one is there.
        self.marks += 1
        mark = f"/?mark-{self.marks} HTTP"
        if not self._answers(f"/?mark-{self.marks}"):
            raise RuntimeError("the gateway does not answer")
        read = lambda: (self.folder / "log/client.rgw.log").read_text(errors="replace")  # noqa: E731
        self._wait("its log", lambda: mark in read())
        log = read()
        found = [Request(m[1], m[2], urllib.parse.unquote(m[3]), m[4] or "", int(m[5]), int(m[6]), m[7])
                 for m in ACCESS.finditer(log)]
        return [r for r in found if r.user != "owner" and r.path != "/"]

    def stall(self):
        """Nothing moves any more, connections stay up."""
        self.osd.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.osd.send_signal(signal.SIGCONT)
