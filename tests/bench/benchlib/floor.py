# SPDX-License-Identifier: Apache-2.0
"""What nobody can be faster than, measured in the same turn as the contenders: it is a noisy world."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import sigv4

from . import meter
from .peers import ACCESS, CORES, GPG, SECRET


def rsa_seconds(operations, bits):
    """So many private-key operations on all cores, by what OpenSSL does now: (seconds, operations a second)."""
    said = subprocess.run(["openssl", "speed", "-seconds", "3", "-multi", str(CORES), f"rsa{bits}"], capture_output=True,
                          text=True, check=True).stdout
    rate = float(re.search(rf"^rsa\s+{bits} bits\s+\S+s\s+\S+s\s+([0-9.]+)", said, re.M)[1])
    return operations / rate, rate


def curl_config(endpoint, objects, folder):
    """One configuration of curl a core, all objects over kept connections."""
    host = endpoint.split("//")[1]
    names = []
    for i in range(min(CORES, len(objects))):
        lines = []
        for o in objects[i::CORES]:
            path = f"/{o['bucket']}/{sigv4.uri_encode(o['key'], True)}"
            headers = {"host": host, "x-amz-date": sigv4.amz_date(), "x-amz-content-sha256": sigv4.EMPTY_SHA256}
            headers["authorization"] = sigv4.sign("GET", path, [], headers, ACCESS, SECRET)
            lines += [f'url = "{endpoint}{path}"', 'output = "/dev/null"', *[f'header = "{n}: {v}"' for n, v in headers.items()
                                                                             if n != "host"], "next"]
        names.append(folder / f"curl{i}")
        names[-1].write_text("\n".join(["fail", "silent", "show-error", *lines[:-1]]).replace(
            "\nnext\n", "\nnext\nfail\nsilent\nshow-error\n") + "\n")
    return names


def bulk(world, gzip):
    """{name: Measured} of each step on its own, with as many processes as cores."""
    out = {}
    with tempfile.TemporaryDirectory(prefix="czf.", dir="/tmp") as name:
        folder = Path(name)
        objects = [o for o in world.facts["objects"] if o.get("path")]
        files = [world.package / "buckets" / o["bucket"] / o["key"] for o in objects]
        plain = [world.package / "expected" / o["path"] for o in objects]
        for i in range(CORES):
            shutil.copytree(world.package / "gnupg", folder / f"h{i}")
            (folder / f"h{i}").chmod(0o700)
        (folder / "plain").write_text("".join(f"{p}\n" for p in plain))
        (folder / "cipher").write_text("".join(f"{p}\n" for p in files))
        environment = {"PATH": "/usr/bin:/bin", "HOME": name, "LC_ALL": "C"}
        gpg = folder / "gpg"
        home = GPG.format(home=f"{folder}/h$((${{SLOT:-0}} % {CORES}))", passphrase="")
        gpg.write_text(f'#!/bin/sh\no=$(mktemp {folder}/o.XXXXXX)\n{home} --yes --output "$o" --decrypt "$1" && sync "$o"\n'
                       'rm -f "$o"\n')
        gpg.chmod(0o755)
        curls = " & ".join(f"curl --config {c}" for c in curl_config(world.endpoint, objects, folder))
        commands = {
            "curl": f"{curls}; wait",
            "gpg, output fsynced": f"xargs -n 1 -P {CORES} --process-slot-var SLOT {gpg} < {folder}/cipher",
            "md5sum": f"xargs -n 1 -P {CORES} md5sum < {folder}/cipher > /dev/null",
        }
        if gzip:
            commands["gzip -t"] = f"xargs -n 1 -P {CORES} gzip -t < {folder}/plain"
        for what, command in commands.items():
            out[what] = meter.run(command, environment, folder)
            if out[what].status:
                raise RuntimeError(f"{what}: {out[what].output[-1000:]}")
    return out
