#!/usr/bin/env python3
"""Request smuggling: does the server behind the edge see the same requests as the edge?

The corpus of tests/http/corpus goes through `fulmar edge` to nginx, which logs each request with
the body that it saw. What is accepted must arrive as the requests that a plain reading of the bytes
gives, no more, no fewer, with the same bodies; what is refused must not arrive at all."""

import json
import random
import socket
import threading

import lib
from lib import check, check_equal, wait_until

CORPUS = lib.ROOT / "tests" / "http" / "corpus"
WAIT_MS = 20000  # of the edge, for heads and for silent bodies: no test that sends all of a request runs into it
WAIT_FOR_REST_MS = 2000  # where the rest never comes

NGINX = """
daemon off; master_process off; worker_processes 1; error_log {dir}/error.log info; pid {dir}/pid;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  client_header_buffer_size 64k; large_client_header_buffers 8 64k; client_max_body_size 0;
  client_body_buffer_size 4m; client_body_in_single_buffer on; keepalive_requests 1000000;
  ignore_invalid_headers off; underscores_in_headers on; merge_slashes off;
  access_log off;
  log_format seen escape=json '{{"connection":$connection,"number":$connection_requests,'
    '"line":"$request","method":"$request_method","target":"$request_uri","host":"$http_host",'
    '"upgrade":"$http_upgrade","hop":"$http_connection","ref":"$http_fulmar_ref",'
    '"status":$status,"body":"$request_body"}}';
  server {{ # the body is read and kept only where it is passed on
    listen 127.0.0.1:{port} backlog=512; access_log {dir}/seen.log seen;
    location / {{ proxy_pass http://127.0.0.1:{inner}; proxy_http_version 1.1;
                  proxy_request_buffering on; proxy_set_header X-Target $request_uri; }}
  }}
  server {{ listen 127.0.0.1:{inner} backlog=512;
            location / {{ return 200 "$request_method $http_x_target\\n"; }} }}
}}
"""

EDGE = """
fulmar: 1
service: smuggling
state: "{dir}/state"
edge:
  workers: 1
  listen: [{{address: "127.0.0.1:{port}"}}]
  admin: "127.0.0.1:{admin}"
  timeouts: {{header: {ms}ms, idle: {ms}ms}}
probe: {{app: none}}
retry: {{hedge-after: never}}
regions: {{west: {{apps: ["127.0.0.1:{origin}"]}}}}
contexts: {{all: {{topology: multi-write, routes: ["/**"]}}}}
"""


# -------- the corpus --------


class Case:
    def __init__(self, row):
        self.file, verdict, edge, requests, first, self.note = row.rstrip("\n").split("\t")
        self.bytes = (CORPUS / self.file).read_bytes()
        self.status = None if verdict == "ok" else int(verdict)
        self.edge = None if edge == "=" else 0 if edge == "-" else int(edge)
        self.requests = int(requests)
        self.first = int(first)


def corpus():
    rows = (CORPUS / "manifest.tsv").read_text().splitlines()
    return [Case(row) for row in rows if not row.startswith("#")]


class Plain:
    """A request as a plain reading of well-formed bytes gives it, without any of our code."""

    def __init__(self, data):
        start = len(data) - len(data.lstrip(b"\r\n"))
        head, _, rest = data[start:].partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        method, target, version = line.split(b" ")
        self.method = method.decode()
        self.version = version.decode()
        self.field = {}
        for field in fields:
            name, _, value = field.partition(b":")
            self.field.setdefault(name.lower(), []).append(value.strip(b" \t"))
        self.field = {name: b",".join(values) for name, values in self.field.items()}
        self.target = target.decode("latin-1")
        self.host = self.field.get(b"host", b"").decode("latin-1")
        scheme, colon, behind = self.target.partition("://")
        if colon and scheme.lower() in ("http", "https"):
            cut = min(i for i in (behind.find("/"), behind.find("?"), len(behind)) if i >= 0)
            self.host, path = behind[:cut], behind[cut:]
            self.target = path if path.startswith("/") else "/" + path
        size = len(data) - len(rest)
        if b"transfer-encoding" in self.field:
            self.body, used = self._chunks(rest)
        else:
            used = int(self.field.get(b"content-length", b"0"))
            self.body = rest[:used]
        self.size = size + used
        options = [o.strip().lower() for o in self.field.get(b"connection", b"").split(b",")]
        self.closes = b"close" in options or (
            self.version == "HTTP/1.0" and b"keep-alive" not in options)

    @staticmethod
    def _chunks(data):
        body, at = b"", 0
        while True:
            end = data.index(b"\r\n", at)
            size = int(data[at:end].split(b";")[0], 16)
            at = end + 2
            if size == 0:
                break
            body += data[at:at + size]
            at += size + 2
        while data[at:at + 2] != b"\r\n":
            at = data.index(b"\r\n", at) + 2
        return body, at + 2


def plain_requests(case):
    """The whole requests of a connection, up to the one that closes it."""
    found, at = [], 0
    while len(found) < case.requests:
        found.append(Plain(case.bytes[at:]))
        at += found[-1].size
    return found


# -------- edge and nginx --------


class Pair:
    """nginx, an edge in front of it, and what nginx has seen so far."""

    def __init__(self, stage, ms=WAIT_MS):
        nginx = lib.program("nginx")
        self.origin, inner = lib.free_port(), lib.free_port()
        conf = stage.write("nginx/nginx.conf",
                           NGINX.format(dir=stage.path("nginx"), port=self.origin, inner=inner))
        stage.start_until("nginx", [nginx, "-e", "stderr", "-c", conf], self.origin)
        self.port = start_edge(stage, self.origin, ms)
        self._log = stage.path("nginx/seen.log")
        self._read = 0
        self._sentinels = 0

    def _entries(self):
        data = self._log.read_bytes() if self._log.exists() else b""
        whole = data[:data.rfind(b"\n") + 1]
        fresh, self._read = whole[self._read:], len(whole)
        return [json.loads(line) for line in fresh.decode("latin-1").split("\n")[:-1]]

    def sentinel(self):
        """A request that no test confuses with another."""
        self._sentinels += 1
        target = f"/sentinel/{self._sentinels}"
        return target, f"GET {target} HTTP/1.1\r\nHost: sentinel\r\n\r\n".encode()

    def seen_before(self, target):
        """What nginx has seen since the last call, up to a sentinel, which must be the last."""
        seen = []

        def has_sentinel():
            seen.extend(self._entries())
            return seen and seen[-1]["target"] == target

        wait_until(f"nginx sees {target} last", has_sentinel)
        sentinel = seen.pop()
        check_equal((sentinel["method"], sentinel["body"], sentinel["host"]),
                    ("GET", "", "sentinel"), "the sentinel as nginx saw it")
        return seen

    def ask_sentinel(self):
        """Send one on a connection of its own; what nginx has seen before it."""
        target, data = self.sentinel()
        with lib.Client(self.port) as client:
            client.send(data)
            answer = client.response()
        check(answer and answer.body.decode() == f"GET {target}\n",
              f"{target} was answered {answer and answer.body[:100]!r}")
        return self.seen_before(target)


def start_edge(stage, origin, ms=WAIT_MS):
    port, admin = lib.free_port(), lib.free_port()
    name = f"edge-{port}"
    text = EDGE.format(dir=stage.path(name), port=port, admin=admin, origin=origin, ms=ms)
    conf = stage.write(f"{name}.yaml", text)
    stage.fulmar(name, "edge", "--config", conf, "--region", "west", port=port)
    return port


def same_request(case, number, plain, seen):
    what = f"{case.file}, request {number}"
    check_equal(seen["method"], plain.method, f"{what}: method")
    check_equal(seen["target"], plain.target, f"{what}: target")
    check_equal(seen["host"], plain.host, f"{what}: host")
    check_equal(seen["body"].encode("latin-1"), plain.body, f"{what}: body")
    check(len(seen["ref"]) == 20, f"{what}: it did not come through the edge")
    check_equal(seen["upgrade"], "", f"{what}: upgrade")


def nginx_understands(plain):
    """Does nginx look into it, or does it refuse what the edge may pass on?"""
    return (all(c.isupper() or c in "-_" for c in plain.method) and plain.host
            and plain.target.startswith("/"))


def compare(case, plains, seen):
    check_equal(len(seen), len(plains),
                f"{case.file}: requests seen {[s['line'] for s in seen]}, in number")
    for number, (plain, one) in enumerate(zip(plains, seen), 1):
        if nginx_understands(plain):
            same_request(case, number, plain, one)
        else:
            check_equal(one["status"], 400, f"{case.file}, request {number}: answer of nginx")


def send_in_pieces(client, data, cuts):
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        client.send(data[at:cut])
        at = cut


def pass_on(pair, case, cuts=()):
    """Send an accepted case with a sentinel behind it on the same connection."""
    plains = plain_requests(case)
    check_equal(plains[0].size, case.first, f"{case.file}: the plain reading of the first request")
    target, sentinel = pair.sentinel()
    with lib.Client(pair.port) as client:
        send_in_pieces(client, case.bytes + sentinel, cuts)
        for plain in plains:
            answer = client.response(plain.method)
            check(answer is not None, f"{case.file}: no answer to {plain.method} {plain.target}")
            expected = 200 if nginx_understands(plain) else 400
            check_equal(answer.status, expected, f"{case.file}: answer to {plain.target[:100]}")
            if plain.method != "HEAD" and expected == 200:
                check_equal(answer.body.decode("latin-1"), f"{plain.method} {plain.target}\n",
                            f"{case.file}: answer")
            for interim in answer.interim:
                check_equal(interim, 100, f"{case.file}: interim answer")
        if plains[-1].closes:
            check(client.is_over(), f"{case.file}: the connection goes on")
            seen = pair.ask_sentinel()
        else:
            answer = client.response()
            check(answer and answer.body.decode() == f"GET {target}\n",
                  f"{case.file}: the sentinel was answered {answer and answer.body[:100]!r}")
            seen = pair.seen_before(target)
    compare(case, plains, seen)


def refused_here(pair, case, status):
    """Send a case that the edge answers by itself, after `case.requests` that it passes on."""
    passed = plain_requests(case) if case.edge is None else []
    with lib.Client(pair.port) as client:
        client.send_as_far_as_taken(case.bytes)
        for plain in passed:
            answer = client.response(plain.method)
            check(answer and answer.status == 200, f"{case.file}: answer to {plain.target}")
        answer = client.response()
        check(answer is not None, f"{case.file}: the connection ended without an answer")
        check_equal(answer.status, status, f"{case.file}: answer")
        check_equal(answer.header("content-type"), "application/problem+json",
                    f"{case.file}: content type")
        if case.edge is None:
            check(answer.says_close(), f"{case.file}: the answer does not say close")
            check(client.is_over(), f"{case.file}: the connection goes on")
    return passed


# -------- tests --------


def test_accepted_requests_arrive_as_they_are(stage):
    """Each accepted case, with a sentinel behind it: nginx sees the same requests and bodies."""
    pair = Pair(stage)
    cases = [c for c in corpus() if c.status is None and c.edge is None]
    check(len(cases) >= 60, f"only {len(cases)} valid cases")
    for case in cases:
        pass_on(pair, case)


def test_accepted_requests_arrive_whatever_the_pieces(stage):
    """The same, cut into random pieces."""
    pair = Pair(stage)
    rand = random.Random(1)
    for case in corpus():
        if case.status is None and case.edge is None:
            cuts = [rand.randrange(1, len(case.bytes) + 1) for _ in range(rand.randrange(1, 5))]
            pass_on(pair, case, cuts)


def test_refused_requests_never_arrive(stage):
    """Each refused case gets its status, and nginx sees nothing of it."""
    pair = Pair(stage)
    cases = [c for c in corpus() if (c.status or c.edge) and c.status != 408]
    check(len(cases) >= 150, f"only {len(cases)} refused cases")
    for case in cases:
        passed = refused_here(pair, case, case.edge or case.status)
        compare(case, passed, pair.ask_sentinel())


def test_incomplete_requests_never_arrive(stage):
    """What never becomes whole is 408 in the end, and nginx sees nothing of it."""
    pair = Pair(stage, WAIT_FOR_REST_MS)
    cases = [c for c in corpus() if c.status == 408]
    waiting = []
    passed = []
    for case in cases:
        client = lib.Client(pair.port)
        stage.on_end(client.close)
        client.send(case.bytes)
        waiting.append((case, client))
    for case, client in waiting:
        for plain in plain_requests(case):
            answer = client.response(plain.method)
            check(answer and answer.status == 200, f"{case.file}: answer to {plain.target}")
            passed.append(plain.target)
        if case.edge is None:
            answer = client.response()
            check(answer is not None, f"{case.file}: the connection ended without an answer")
            check_equal(answer.status, 408, f"{case.file}: answer")
        check(client.is_over(), f"{case.file}: the connection goes on")
    check_equal(sorted(s["target"] for s in pair.ask_sentinel()), sorted(passed), "seen by nginx")


MIX = [("GET", "", ""), ("HEAD", "", ""), ("POST", "Content-Length: 5\r\n", "hello"),
       ("PUT", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
       ("DELETE", "Content-Length: 0\r\n", "")]


def test_clients_get_their_own_answers(stage):
    """Many connections at once share those to nginx: each gets the answers to its own requests."""
    pair = Pair(stage)
    problems = []

    def one_client(number):
        rand = random.Random(number)
        try:
            with lib.Client(pair.port) as client:
                for i in range(60):
                    burst, expected = b"", []
                    for j in range(rand.randrange(1, 4)):
                        target = f"/client/{number}/{i}/{j}"
                        method, framing, body = rand.choice(MIX)
                        burst += (f"{method} {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n"
                                  f"{body}").encode()
                        expected.append((method, target))
                    client.send(burst)
                    for method, target in expected:
                        answer = client.response(method)
                        body = "" if method == "HEAD" else f"{method} {target}\n"
                        if not answer or answer.status != 200 or answer.body.decode() != body:
                            problems.append(f"{method} {target}: {answer and answer.body!r}")
                            return
        except Exception as failure:  # told below, by the thread that runs the test
            problems.append(f"client {number}: {failure!r}")

    threads = [threading.Thread(target=one_client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not problems, f"{len(problems)} clients, the first: {problems[:1]}")
    seen = pair.ask_sentinel()
    check(all(s["body"] in ("", "hello") for s in seen), "a body that nobody sent")


class RawServer:
    """An origin that answers each request head with the same bytes and then says no more."""

    def __init__(self, stage, answer, hang_up=False):
        self._answer, self._hang_up = answer, hang_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = []
        self.heads = []
        stage.on_end(self._close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        try:
            while more := connection.recv(65536):
                data += more
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    self.heads.append(head)
                    connection.sendall(self._answer)
                    if self._hang_up:
                        connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _close(self):
        self._listener.close()
        for connection in self.connections:
            connection.close()


def test_malformed_answers_become_502(stage):
    """An answer that could be read in two ways does not reach the client."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ]
    for answer in answers:
        port = start_edge(stage, RawServer(stage, answer).port)
        got = lib.get(port, "/")
        check_equal(got.status, 502, f"answer to {answer!r}")
        check("hello" not in got.body.decode(), f"{answer!r} was passed on")


def test_bytes_behind_an_answer_reach_nobody(stage):
    """A server says more than it was asked for: no other client gets to read it."""
    behind = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for first in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
                  b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n",
                  b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n"):
        server = RawServer(stage, first + behind)
        port = start_edge(stage, server.port)
        for _ in range(5):
            got = lib.get(port, "/")
            check(got.status in (200, 204) and got.body in (b"good", b""),
                  f"{got.status} {got.body!r}")
        check(len(server.connections) >= 5, f"{len(server.connections)} connections for 5 requests")


def test_no_protocol_but_websocket_is_offered(stage):
    """h2c is never passed on, whatever it is wrapped in; websocket is, without a body."""
    server = RawServer(stage, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                              b"Upgrade: websocket\r\n\r\nframes")
    port = start_edge(stage, server.port)
    head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
    for fields in (b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
                   b"Upgrade: websocket, h2c\r\n\r\n",
                   b"Upgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
                   b"Upgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
                   b"Upgrade: websocket\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000):
        with lib.Client(port) as client:
            client.send_as_far_as_taken(head + fields)
            answer = client.response()
        check(answer and answer.status == 502, f"{fields[:60]!r}: {answer and answer.status}")
        check(b"upgrade:" not in server.heads[-1].lower(), f"{fields[:60]!r} was passed on")
    with lib.Client(port) as client:
        client.send(head + b"Upgrade: WebSocket\r\n\r\n")
        answer = client.response()
        check(answer and answer.status == 101, f"websocket: {answer and answer.status}")
        check_equal(client.take(6), b"frames", "the first bytes of the tunnel")
    check(b"upgrade: websocket" in server.heads[-1].lower(), "websocket was not passed on")


if __name__ == "__main__":
    lib.main(globals())
