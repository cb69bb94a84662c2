# SPDX-License-Identifier: Apache-2.0
"""A real systemd for tests: boots as PID 1 in namespaces of its own, on an overlay of the host's root.

Owned here: the namespaces, the overlay (its upper layer is a tmpfs that dies with them), a cgroup of our own. What
always holds: nothing is written to the host's files, devices, kernel settings, clock or network; when close() returns,
or this process dies, everything is gone. What runs inside sees the host's programs and libraries, a fresh machine id,
an empty journal, no services but systemd's own and D-Bus, and a network with nothing but loopback.

    with Booted() as b:
        b.put("/etc/czard/czard.ini", "...")
        b.ok("systemctl", "start", "czard")
        b.journal(CZARD_EVENT="ready")
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

# Everything of systemd that would reach for hardware, the kernel's global state or the outside. What the kernel
# shares between namespaces (clock, sysctl, modules, audit, binfmt) must not be touched from here.
MASKED = """
systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
systemd-modules-load.service kmod-static-nodes.service systemd-sysctl.service systemd-binfmt.service
proc-sys-fs-binfmt_misc.automount systemd-random-seed.service systemd-timesyncd.service systemd-networkd.service
systemd-networkd.socket systemd-resolved.service systemd-journald-audit.socket systemd-firstboot.service
systemd-repart.service systemd-hwdb-update.service systemd-tmpfiles-setup-dev.service systemd-remount-fs.service
systemd-pstore.service systemd-rfkill.socket systemd-backlight@.service systemd-machine-id-commit.service
systemd-logind.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-tmpfiles-clean.timer
dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount
sys-kernel-tracing.mount lvm2-monitor.service lvm2-lvmpolld.socket dm-event.socket blk-availability.service
getty.target getty-static.service console-getty.service serial-getty@.service remote-fs.target
apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer logrotate.timer man-db.timer
""".split()

# Runs as the first process of the new namespaces, becomes PID 1's systemd. $1: an empty folder, for the tmpfs that
# holds everything.
BOOT = r"""
set -e
base=$1; shift
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=4G tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
r=$base/root
mount -t proc -o nosuid,nodev,noexec proc "$r/proc"
mount --bind "$r/proc/sys" "$r/proc/sys"
mount -o remount,bind,ro "$r/proc/sys"
[ ! -e "$r/proc/sysrq-trigger" ] || mount --bind /dev/null "$r/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$r/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$r/sys/fs/cgroup"
mount -t tmpfs -o nosuid,mode=0755 tmpfs "$r/dev"
mkdir "$r/dev/pts" "$r/dev/shm" "$r/dev/mqueue"
mknod -m 0666 "$r/dev/null" c 1 3
mknod -m 0666 "$r/dev/zero" c 1 5
mknod -m 0666 "$r/dev/full" c 1 7
mknod -m 0666 "$r/dev/random" c 1 8
mknod -m 0666 "$r/dev/urandom" c 1 9
mknod -m 0666 "$r/dev/tty" c 5 0
mount -t devpts -o newinstance,nosuid,noexec,mode=0620,gid=5,ptmxmode=0666 devpts "$r/dev/pts"
ln -s pts/ptmx "$r/dev/ptmx"
ln -s /proc/self/fd "$r/dev/fd"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$r/dev/shm"
mount -t mqueue -o nosuid,nodev,noexec mqueue "$r/dev/mqueue"
mknod -m 0666 "$r/dev/console" c 1 3        # what systemd says there is in the journal too
for d in run tmp; do mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$r/$d"; done
chmod 1777 "$r/tmp"

rm -rf "$r"/etc/rc?.d "$r/etc/systemd/system" "$r/etc/systemd/journald.conf.d" "$r/etc/machine-id" "$r/var/log/journal" "$r/etc/fstab"
mkdir -p "$r/etc/systemd/system" "$r/etc/systemd/journald.conf.d" "$r/etc/systemd/system.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=512M\n' > "$r/etc/systemd/journald.conf.d/t.conf"
printf '[Manager]\nDefaultTimeoutStopSec=10s\nLogLevel=info\n' > "$r/etc/systemd/system.conf.d/t.conf"
tr -d - < /proc/sys/kernel/random/uuid > "$r/etc/machine-id"
for unit; do ln -s /dev/null "$r/etc/systemd/system/$unit"; done
ln -s /lib/systemd/system/multi-user.target "$r/etc/systemd/system/default.target"

echo czard-test > "$r/etc/hostname"
hostname czard-test
ip link set lo up
cd "$r"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
mount --make-rshared /                       # LoadCredential= needs it
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        /lib/systemd/systemd --system --unit=multi-user.target
"""


def why_not():
    """Why no systemd can be booted here, or None. A test that cannot run says this aloud."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("unshare", "nsenter", "pivot_root", "ip", "/lib/systemd/systemd"):
        if not shutil.which(program):
            return f"{program} is not installed"
    if not _cgroup2():
        return "no cgroup2 file system is mounted"
    probe = subprocess.run(["unshare", "-m", "-p", "-C", "-u", "-i", "-n", "--fork", "mount", "-t", "proc", "proc", "/proc"],
                           capture_output=True, text=True)
    return probe.stderr.strip().splitlines()[-1] if probe.returncode else None


def _cgroup2():
    """Where the host's cgroup2 is mounted."""
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, right = line.split(" - ")
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    return None


class Failed(AssertionError):
    """A command inside that should have succeeded."""


class Booted:
    def __init__(self, timeout=180):
        self.base = tempfile.mkdtemp(prefix="czard-booted-")
        self.cgroup = os.path.join(_cgroup2(), os.path.basename(self.base))
        self.log = open(os.path.join(tempfile.gettempdir(), os.path.basename(self.base) + ".log"), "w+")
        self.pid = None
        self.children = []
        os.mkdir(self.cgroup)
        # --kill-child: when this process dies, so does everything inside.
        self.unshare = subprocess.Popen(
            ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.cgroup,
             "setpriv", "--pdeathsig", "KILL",
             "unshare", "-m", "-p", "-C", "-u", "-i", "-n", "--fork", "--kill-child",
             "sh", "-c", BOOT, "boot", self.base, *MASKED],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            self._wait(timeout)
        except BaseException:
            self.close()
            raise

    def _wait(self, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.unshare.poll() is not None:
                break
            if self.pid is None:
                self.pid = self._init()
            elif os.path.exists(self.path("/run/systemd/private")):
                state = self.run("systemctl", "is-system-running", "--wait", timeout=timeout).stdout.strip()
                if state in ("running", "degraded"):
                    self.state = state
                    return
            time.sleep(0.05)
        self.log.seek(0)
        raise Failed("systemd does not come up:\n" + self.log.read()[-4000:])

    def _init(self):
        """PID of systemd as seen from here, once it runs."""
        try:
            with open(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children") as f:
                child = int(f.read().split()[0])
            with open(f"/proc/{child}/comm") as f:
                return child if f.read().strip() == "systemd" else None
        except (OSError, IndexError):
            return None

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        # Killing PID 1 of the namespace kills all that is in it; its tmpfs goes with the last of them.
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.unshare.poll() is None:
            try:
                self.unshare.wait(90)
            except subprocess.TimeoutExpired:
                self.unshare.kill()
                self.unshare.wait()
        for _ in range(100):
            for folder, _, _ in os.walk(self.cgroup, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass
            if not os.path.exists(self.cgroup):
                break
            time.sleep(0.05)
        self.log.close()
        os.unlink(self.log.name)
        os.rmdir(self.base)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- files ---

    def path(self, inside):
        """The name from here of a file inside."""
        return f"/proc/{self.pid}/root{inside}"

    def put(self, inside, data, mode=0o644):
        """Writes a file inside, making the folders above it."""
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        with open(self.path(inside), "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
        os.chmod(self.path(inside), mode)

    def copy(self, source, inside):
        """Copies a file, or a folder with all below it, from here into the inside."""
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        subprocess.run(["cp", "-a", source, self.path(inside)], check=True)

    def get(self, inside):
        with open(self.path(inside), "rb") as f:
            return f.read()

    # --- commands ---

    def _enter(self, *options):
        return ["nsenter", "-t", str(self.pid), *(options or ("-m", "-p", "-C", "-u", "-i", "-n")), "--"]

    def run(self, *argv, timeout=180, stdin=None):
        """Runs a command inside, as root; the finished process with its text."""
        return subprocess.run(self._enter() + list(argv), input=stdin, capture_output=True, text=True, timeout=timeout,
                              stdin=None if stdin is not None else subprocess.DEVNULL,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "",
                                   "SYSTEMD_COLORS": "0", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"})

    def ok(self, *argv, **kw):
        """The same; anything but exit status 0 is a failure. Returns stdout."""
        p = self.run(*argv, **kw)
        if p.returncode:
            raise Failed(f"{' '.join(argv)}: exit {p.returncode}\n{p.stdout}{p.stderr}")
        return p.stdout

    def popen_net(self, *argv, **kw):
        """Starts a program of the host's file system in the network of the inside: an S3 server, say. It is killed
        at the end."""
        child = subprocess.Popen(self._enter("-n") + list(argv), **kw)
        self.children.append(child)
        return child

    def show(self, unit, *properties):
        """Properties of a unit as a dict."""
        out = self.ok("systemctl", "show", unit, *("-p" + p for p in properties))
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def main_pid(self, unit):
        """The unit's main process, as numbered inside."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def until(self, what, test, timeout=90):
        """Waits until test() is true and returns its value."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            value = test()
            if value:
                return value
            time.sleep(0.1)
        raise Failed(f"not within {timeout} s: {what}\n" + self.ok("journalctl", "-n", "40", "--no-pager"))

    def journal(self, unit=None, after=None, **fields):
        """Entries, oldest first, whose fields have these values. after: a cursor."""
        self.run("journalctl", "--sync")  # what a process said before it ended may not be in it yet
        argv = ["journalctl", "-o", "json", "--no-pager", "-q", "--all"]
        if unit:
            argv += ["-u", unit]
        # journalctl 252 skips an entry too many when a cursor and matches come together: match here.
        argv += ["--after-cursor", after] if after else [f"{k}={v}" for k, v in fields.items()]
        entries = [json.loads(line) for line in self.ok(*argv).splitlines()]
        return [e for e in entries if all(e.get(k) == v for k, v in fields.items())]

    def cursor(self):
        """The place where the journal ends now."""
        self.run("journalctl", "--sync")
        entries = self.ok("journalctl", "-o", "json", "-n", "1", "-q").splitlines()
        return json.loads(entries[-1])["__CURSOR"]

    def exposure(self, unit):
        """The overall figure of systemd-analyze security."""
        out = self.ok("systemd-analyze", "security", "--no-pager", unit)
        for line in out.splitlines():
            if "Overall exposure level" in line:
                return float(line.split(":")[1].split()[0])
        raise Failed(out)
