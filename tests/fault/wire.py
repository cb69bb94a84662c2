# SPDX-License-Identifier: Apache-2.0
"""A relay in front of the stand-in that can send any bytes at all, for what no HTTP library would send.

    Relay(port)             hands every request on to that port, and its answer back
      `-- on(answer, …)     what is sent instead: bytes, or a function of (Asked, Answer of the stand-in)
"""

import fnmatch
import http.client
import socket
import ssl
import threading
import urllib.parse


class Asked:
    def __init__(self, head):
        self.method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        path, _, query = target.partition("?")
        _, self.bucket, key = (path.split("/", 2) + ["", ""])[:3]
        self.key = urllib.parse.unquote(key)
        self.op = "list" if not self.key else self.method.lower()
        self.name = dict(urllib.parse.parse_qsl(query)).get("prefix", "") if self.op == "list" else self.key

    def __repr__(self):
        return f"{self.op} {self.bucket}/{self.name}"


class Answer:
    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def get(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def without(self, *names):
        self.headers = [(k, v) for k, v in self.headers if k.lower() not in [n.lower() for n in names]]
        return self

    def add(self, name, value):
        self.headers.append((name, value))
        return self

    def set(self, name, value):
        return self.without(name).add(name, value)

    def with_body(self, body):
        self.body = body
        return self.set("Content-Length", str(len(body)))

    def head(self, version="HTTP/1.1"):
        lines = [f"{version} {self.status} {self.reason}", *[f"{k}: {v}" for k, v in self.headers], "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def raw(self, version="HTTP/1.1"):
        return self.head(version) + self.body

    def chunked(self, trailers=b""):
        self.without("Content-Length").set("Transfer-Encoding", "chunked")
        pieces = [self.body[n:n + 1000] for n in range(0, len(self.body), 1000)]
        return self.head() + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


class Relay:
    """One connection a request. context: an SSLContext."""

    def __init__(self, port, context=None):
        self.upstream, self.context = port, context
        self.rules, self.asked = [], []
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()

    def on(self, answer, op, name="*", count=1 << 60):
        with self._lock:
            self.rules.append([op, name, count, answer])

    def clear(self):
        with self._lock:
            self.rules, self.asked = [], []

    def _accept(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client.settimeout(60)
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                more = client.recv(65536)
                if not more:
                    return
                head += more
            client.sendall(self._answer(head[:-4]))
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except (OSError, ssl.SSLError):
            pass  # it went away, as it may
        finally:
            client.close()

    def _answer(self, head):
        asked = Asked(head)
        with self._lock:
            self.asked.append(asked)
            rule = next((r for r in self.rules if r[0] == asked.op and fnmatch.fnmatchcase(asked.name, r[1]) and r[2] > 0), None)
            if rule:
                rule[2] -= 1
        answer = self._hand_on(asked, head)
        if rule and answer.status < 400:
            return rule[3] if isinstance(rule[3], bytes) else rule[3](asked, answer)
        return answer.set("Connection", "close").raw()

    def _hand_on(self, asked, head):
        with socket.create_connection(("127.0.0.1", self.upstream)) as up:
            up.sendall(head + b"\r\nConnection: close\r\n\r\n")
            r = http.client.HTTPResponse(up, method=asked.method)
            r.begin()
            body = r.read()
            headers = [(k, v) for k, v in r.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
            return Answer(r.status, r.reason, headers, body)
