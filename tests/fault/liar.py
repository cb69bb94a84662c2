#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in place of a helper: starts the real one, hands messages and descriptors on, and tells one lie, once. What lie is
in the file "lie" beside it: {"real": PATH, "type": which of its messages, "nth": the how manieth, "do": what, ...}.
Or, with "words": [[PATTERN, CAUSE], ...], says that of each member whose name matches, until there is a file "truth" beside
it; [PATTERN, CAUSE, "once"] makes it, when the other words have been said twice: by the worker that looks first and by the
one that looks again."""

import array
import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

VERDICT, DONE, READY, PROGRESS, FILE, MEMBERS, GET = 12, 6, 8, 15, 9, 11, 3
MESSAGE_MAX = 128 * 1024
HERE = Path(sys.argv[0]).parent


def receive(sock):
    data, control, _, _ = sock.recvmsg(MESSAGE_MAX, socket.CMSG_SPACE(65 * 4))
    fds = array.array("i")
    for level, kind, value in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(value[:len(value) - len(value) % 4])
    return data, list(fds)


def send(sock, data, fds=()):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def kind(data):
    return struct.unpack_from("<H", data, 2)[0]


def behind_outcome(data):
    """Where the fields behind cause and detail begin."""
    return 8 + 4 + 4 + struct.unpack_from("<I", data, 12)[0] + 1


def patch(data, form, at, value):
    out = bytearray(data)
    struct.pack_into(form, out, at, value(struct.unpack_from(form, data, at)[0]))
    return bytes(out)


def checks_at(data):
    return behind_outcome(data) + (4 if kind(data) == VERDICT else 4 + 4 + 8 + 8 + 8)


class Liar:
    def __init__(self):
        self.lie = json.loads((HERE / "lie").read_text())
        self.czard = socket.socket(fileno=os.dup(3))
        self.real, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for s in (self.real, theirs):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_MAX)
        self.child = subprocess.Popen([self.lie["real"], *sys.argv[1:]], pass_fds=(3,), stdin=subprocess.DEVNULL,
                                      preexec_fn=lambda: os.dup2(theirs.fileno(), 3))
        theirs.close()
        self.words, self.names = self.lie.get("words", []), {}
        self.seen, self.kept, self.last_get, self.asked = 0, None, 0, 0

    def is_time(self):
        """Once in the life of the test, whichever process it is."""
        if self.lie.get("asked") not in (None, self.asked):
            return False
        self.seen += 1
        if self.seen < self.lie["nth"]:
            return False
        try:
            os.close(os.open(HERE / "told", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            return True
        except FileExistsError:
            return False

    def from_czard(self):
        data, fds = receive(self.czard)
        if not data:
            return False
        self.asked = kind(data)
        if self.asked == MEMBERS:
            # Two batches of a job are under way at a time.
            self.names.setdefault(struct.unpack_from("<I", data, 4)[0], []).append(
                re.findall(r"[ -~]+?\.gpg(?=\0)", data.decode("latin-1")))
        if self.lie["do"] == "keep" and kind(data) == self.lie["type"] and self.is_time():
            self.kept = os.dup(fds[-1])
        send(self.real, data, fds)
        if self.lie["do"] == "early" and kind(data) == self.lie["type"] and self.is_time():
            send(self.czard, data[:2] + struct.pack("<HI", VERDICT, struct.unpack_from("<I", data, 4)[0]) + struct.pack("<IIB", 0, 0, 0)
                 + struct.pack("<IIIQQQ", 0, 1 << 6, 0, 0, 0, 0) + bytes(32) + struct.pack("<IBIB", 0, 0, 0, 0))
        for fd in fds:
            os.close(fd)
        return True

    def from_real(self):
        data, _ = receive(self.real)
        if not data:
            return False
        if self.words:
            send(self.czard, self.in_words(data))
        elif kind(data) == self.lie["type"] and self.lie["do"] not in ("keep", "early") and self.is_time():
            for changed in getattr(self, self.lie["do"])(data):
                send(self.czard, changed)
        else:
            send(self.czard, data)
        if self.kept is not None and kind(data) == VERDICT and not self.lie.get("silent"):
            try:
                os.lseek(self.kept, 0, os.SEEK_SET)
                os.write(self.kept, b"not what was proven")
            except OSError:
                pass
        return True

    def in_words(self, data):
        batches = self.names.get(struct.unpack_from("<I", data, 4)[0], []) if kind(data) == VERDICT else []
        index = struct.unpack_from("<I", data, behind_outcome(data))[0] if batches else 0
        name = batches[0][index] if batches else ""
        if batches and index == len(batches[0]) - 1:
            batches.pop(0)
        for pattern, cause, *once in self.words if name and not (HERE / "truth").exists() else ():
            if re.search(pattern, name):
                if once:
                    self.wait_for_the_others()
                    (HERE / "truth").touch()
                else:
                    with open(HERE / "said", "ab") as f:
                        f.write(b".")
                return patch(data, "<I", 8, lambda _: cause)
        return data

    def wait_for_the_others(self):
        """Until the other worker, which is started for that, has said them too, and czard has heard it."""
        number, end = 2 * sum(len(word) == 2 for word in self.words), time.monotonic() + 60
        while time.monotonic() < end and (HERE / "said").stat().st_size < number:
            time.sleep(0.02)
        time.sleep(1)

    # -- lies: what is sent in place of the message --
    def id(self, data):
        return [patch(data, "<I", 4, lambda v: v + self.lie["by"])]

    def member(self, data):
        return [patch(data, "<I", behind_outcome(data), lambda v: v + 1)]

    def size(self, data):
        return [patch(data, "<Q", behind_outcome(data) + 12, lambda v: v + self.lie["by"])]

    def number(self, data):
        """One of the numbers behind the outcome."""
        return [patch(data, "<Q", behind_outcome(data) + self.lie["at"], lambda v: v + self.lie["by"])]

    def checks(self, data):
        return [patch(data, "<I", checks_at(data), lambda v: v | self.lie["bits"])]

    def cause(self, data):
        return [patch(data, "<I", 8, lambda _: self.lie["cause"])]

    def die(self, data):
        """And says nothing of that one."""
        self.child.kill()
        os._exit(1)

    def twice(self, data):
        return [data, data]

    def idle(self, data):
        """Something behind it that nobody asked for."""
        return [data, data[:2] + struct.pack("<HIQ", PROGRESS, struct.unpack_from("<I", data, 4)[0], 0)]

    def page(self, data):
        """A page of a listing in answer to a GET."""
        return [data[:2] + struct.pack("<HII", 5, struct.unpack_from("<I", data, 4)[0], 0)]

    def run(self):
        sources = {self.czard: self.from_czard, self.real: self.from_real}
        while all(sources[s]() for s in select.select(list(sources), [], [])[0]):
            pass
        self.real.close()
        self.child.wait()


Liar().run()
