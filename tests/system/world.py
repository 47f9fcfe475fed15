"""What the tests of `fulmar edge` share: an edge on free ports with its configuration, origins that
do as they are told, the bank, and load.

Configurations are dictionaries, written as JSON, which is YAML. Three kinds of applications:
  Origin  Python threads in the test itself: says what it saw, or does anything else
  App     bench-origin, a process to kill and freeze, which records what it executed
  Bank    the sample application with its store, networks and agents
The load comes from bench-load: an open loop, every request with an id and in a log. Both bench
programs are those of the release build, also where the program under test is another.
"""

import base64
import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time

import lib
from lib import check, check_equal, wait_until

sys.path.append(str(lib.ROOT))
sys.dont_write_bytecode = True
from bench.lib import evidence  # noqa: E402

TOOLS = lib.ROOT / "build" / "bench"
BUILD = pathlib.Path(os.environ.get("FULMAR_BUILD", pathlib.Path(lib.FULMAR).parent))
KEYED = {"topology": "multi-write", "routes": ["/**"], "idempotency": {"key": "optional", "by": "app"}}


def _is_sanitized():
    program = pathlib.Path(lib.FULMAR)
    data = program.read_bytes() if program.exists() else b""
    return b"__asan_init" in data or b"__tsan_init" in data


SANITIZED = _is_sanitized()  # slower, and of another size in memory
RATE = 150 if SANITIZED else 400  # requests per second of one load


def tool(name):
    path = TOOLS / name
    if not os.access(path, os.X_OK):
        raise lib.Skip(f"{path} is not built (meson option `bench`)")
    return path


# -------- the edge --------


class Edge:
    """`fulmar edge`. `regions` maps names to lists of ports, the first has priority 1, or to whole
    sections; `edge` adds keys to the section of that name, other keywords are top level keys."""

    def __init__(self, stage, regions, contexts=None, edge=None, name="edge", start=True, **top):
        self.stage, self.name = stage, name
        self.port, self.admin = lib.free_port(), lib.free_port()
        self.process = None
        self.conf = {
            "fulmar": 1, "service": "test", "state": str(stage.path(f"{name}-state")) + "/{host}",
            "edge": {"workers": 2, "listen": [{"address": f"127.0.0.1:{self.port}"}],
                     "admin": f"127.0.0.1:{self.admin}", "drain": {"finish": "5s"}, **(edge or {})},
            "regions": {n: r if isinstance(r, dict) else region(i, r)
                        for i, (n, r) in enumerate(regions.items(), 1)},
            "contexts": contexts or {"all": KEYED}, **top}
        self.path = stage.path(f"{name}.yaml")
        self.write()
        if start:
            self.start()

    def write(self):
        self.path.write_text(json.dumps(self.conf, indent=1) + "\n")

    def start(self):
        who = ["--host", "edge-1"] if "hosts" in self.conf else ["--region", next(iter(self.conf["regions"]))]
        # the admin port is the last to listen, and looking at it does not count as a client
        self.process = self.stage.fulmar(self.name, "edge", "-c", self.path, *who, port=self.admin)

    def get(self, path="/", **options):
        return lib.get(self.port, path, **options)

    # what it says of itself

    def status(self):
        return lib.get(self.admin, "/status").json()

    def slot(self, region_name, context="all"):
        """What /status says of a region for a context."""
        for r in self.status()["regions"]:
            for c in r["contexts"]:
                if (r["region"], c["context"]) == (region_name, context):
                    return c
        raise lib.Failure(f"/status does not know {region_name} and {context}")

    def wait_all_up(self):
        wait_until("all regions are well", lambda: all(
            c["health"] == "up" for r in self.status()["regions"] for c in r["contexts"]), seconds=60)

    def events(self):
        """The changes of health so far, as (region, context, to, reason)."""
        return [(e["region"], e["context"], e["to"], e["reason"]) for e in self.status()["events"]]

    def metrics(self):
        return parse_metrics(lib.get(self.admin, "/metrics").body.decode())

    def metric(self, name, **labels):
        """The value of fulmar_edge_NAME with exactly these labels."""
        key = (f"fulmar_edge_{name}", tuple(sorted(labels.items())))
        values = self.metrics()
        check(key in values, f"/metrics has no {key}")
        return values[key]

    def log(self, event=None):
        """The log lines so far, of one event or all."""
        lines = []
        for text in self.process.output().splitlines():
            if text.startswith("{") and text.endswith("}"):
                lines.append(json.loads(text))
        return [line for line in lines if event in (None, line["event"])]

    def reload(self):
        """SIGHUP; the log line that says how it ended, once every worker goes by what is loaded."""
        before = len(self.log("reloaded")) + len(self.log("reload_refused"))
        self.process.signal(signal.SIGHUP)

        def ended():
            return (self.log("reloaded") + self.log("reload_refused"))[before:] and \
                [line for line in self.log() if line["event"] in ("reloaded", "reload_refused")]

        last = wait_until("the reload ends", ended)[-1]
        wait_until("every worker goes by it", self._is_in_use)
        return last

    def _is_in_use(self):
        status = self.status()
        return status["generation_in_use"] == status["generation"]

    # what the kernel says of it

    def rss_kib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", text, re.M).group(1))

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def region(priority, ports, **more):
    return {"priority": priority, "apps": [f"127.0.0.1:{p}" for p in ports], **more}


SAMPLE = re.compile(r'^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+]+|[+-]Inf|NaN)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def parse_metrics(text):
    """{(name, sorted labels): value} of the Prometheus text format; fails where it is not that."""
    values, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            check(name not in types, f"two types of {name}")
            check(kind in ("counter", "gauge", "histogram"), line)
            types[name] = kind
            continue
        sample = SAMPLE.match(line)
        check(sample, f"not a sample: {line!r}")
        name, labels = sample.group(1), sample.group(2) or ""
        check_equal(LABEL.sub("", labels), "", f"labels of {line!r}")
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        check(name in types or types.get(family) == "histogram", f"{name} has no type")
        key = (name, tuple(sorted(LABEL.findall(labels))))
        check(key not in values, f"twice: {line}")
        values[key] = float(sample.group(3).replace("Inf", "inf"))
    return values


# -------- origins in the test --------


class Exchange:
    """A request at an Origin, and the means to answer it."""

    def __init__(self, origin, connection, file, line):
        self.origin, self.connection, self._file = origin, connection, file
        self.method, self.target, self.version = line.decode("latin-1").split()
        self.headers, self.trailers = self._fields(), []
        self.over = False  # close the connection behind it
        chunked = (self.header("transfer-encoding") or "").lower() == "chunked"
        self._left = None if chunked else int(self.header("content-length") or 0)
        self._read = False

    def _fields(self):
        fields = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name.lower(), value.strip()))
        return fields

    def header(self, name):
        values = [v for n, v in self.headers if n == name.lower()]
        return ", ".join(values) if values else None

    def pieces(self, size=1 << 16):
        """The body, as it comes."""
        self._read = True
        while self._left is None:
            left = int(self._file.readline().split(b";")[0], 16)
            if left == 0:
                self.trailers = self._fields()
                return
            while left:
                piece = self._file.read(min(left, size))
                left -= len(piece)
                yield piece
            self._file.readline()
        while self._left and (piece := self._file.read(min(self._left, size))):
            self._left -= len(piece)
            yield piece

    def body(self):
        return b"".join(self.pieces())

    def send(self, data):
        self.connection.sendall(data)

    def answer(self, body=b"", status="200 OK", headers=()):
        if not self._read:
            self.body()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"X-Origin: {self.origin.name}",
                 *(f"{n}: {v}" for n, v in headers), "", ""]
        head = "\r\n".join(lines).encode()
        self.send(head if self.method == "HEAD" else head + body)

    def tell(self):
        """Answer with what was seen."""
        body = self.body()
        self.answer(json.dumps({
            "origin": self.origin.name, "method": self.method, "target": self.target,
            "headers": self.headers, "trailers": self.trailers, "bytes": len(body),
            "body": base64.b64encode(body[:1024]).decode()}).encode())


class Origin:
    """A server in threads of the test. `serve(exchange)` answers; without it, Exchange.tell does."""

    def __init__(self, stage, serve=Exchange.tell, name="origin", address="127.0.0.1", port=0):
        self.name, self.serve = name, serve
        self.seen = []         # "METHOD TARGET", in the order of arrival
        self.connections = []  # of all time
        self._listener = socket.create_server((address, port), backlog=512)
        self.port = self._listener.getsockname()[1]
        stage.on_end(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            with connection.makefile("rb") as file:
                while line := file.readline():
                    exchange = Exchange(self, connection, file, line)
                    self.seen.append(f"{exchange.method} {exchange.target}")
                    self.serve(exchange)
                    if exchange.over:
                        break
        except (OSError, ValueError):
            pass  # the other side is gone
        finally:
            connection.close()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        except OSError:
            pass
        self._listener.close()
        for connection in self.connections:
            connection.close()


# -------- applications as processes --------


class App:
    """bench-origin. What it executes is in its records, unless it is to be fast and not to be asked."""

    def __init__(self, stage, name, store=None, fast=False):
        self.stage, self.name, self._fast = stage, name, fast
        self.port, self.admin = lib.free_port(), lib.free_port()
        self._options = [f"--name={name[0]}", f"--admin={self.admin}"]
        self._options += [] if fast else ["--delay-us=500"]
        self._options += [f"--store={store}"] if store else []
        self.records = []
        self.start()

    def start(self):
        """Also after it was killed: then with another record."""
        record = []
        if not self._fast:
            self.records.append(self.stage.path(f"{self.name}-{len(self.records)}.record"))
            record = [f"--record={self.records[-1]}"]
        self.process = self.stage.start_until(
            self.name, [tool("bench-origin"), *self._options, *record, self.port], self.port)

    def kill(self):
        self.process.kill()

    def freeze(self):
        self.process.freeze()

    def wake(self):
        self.process.signal(signal.SIGCONT)

    def mode(self, name):
        check_equal(lib.get(self.admin, f"/mode/{name}").status, 200, f"mode {name} of {self.name}")

    def lines(self):
        return [line for record in self.records for line in evidence.read_record(record)]


def bank(stage, name, *arguments, port):
    return stage.start_until(name, [BUILD / "examples/bank/bank", *arguments], port)


class Agent:
    """`fulmar agent` of a region, with the roles gate and health."""

    def __init__(self, stage, region_name):
        self.stage, self.host = stage, f"{region_name}-1"
        self.gate, self.peer, self.admin = (lib.free_port() for _ in range(3))
        self.section = {"region": region_name, "roles": ["gate", "health"], "address": "127.0.0.1",
                        "gate": f"127.0.0.1:{self.gate}", "peer": f"127.0.0.1:{self.peer}",
                        "admin": f"127.0.0.1:{self.admin}"}

    def start(self, conf):
        return self.stage.fulmar(self.host, "agent", "-c", conf, "--host", self.host, port=self.gate)

    def is_capable(self):
        """Of everything."""
        try:
            return lib.get(self.peer, "/health/deep").status == 200
        except (OSError, lib.Failure):
            return False


def start_behind_agents(edge, agents, start_region):
    """Add the agents to the configuration of an edge that does not run yet, start each with its
    region, and then the edge."""
    edge.conf["hosts"] = {
        "edge-1": {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                   "admin": f"127.0.0.1:{edge.admin}"},
        **{a.host: a.section for a in agents}}
    edge.write()
    for agent in agents:
        start_region(agent)
    for agent in agents:
        wait_until(f"{agent.host} is capable", agent.is_capable, seconds=30)
    edge.start()
    edge.wait_all_up()


class BankRegion:
    """An agent, two instances of the app, and the card network that they depend on."""

    def __init__(self, stage, name, store_port):
        self.stage, self.name, self._store = stage, name, store_port
        self.agent = Agent(stage, name)
        self.network = lib.free_port()
        self.apps = [(lib.free_port(), lib.free_port()) for _ in range(2)]  # with their admin ports
        self.processes = {}

    def section(self, priority):
        ping = f"http://127.0.0.1:{self.network}/ping"
        return {"priority": priority, "apps": {"core": [f"127.0.0.1:{p}" for p, _ in self.apps]},
                "checks": {"card-network": {"http": ping}}}

    def start(self, conf):
        """What does not run of it."""
        self._start("network", lambda n: bank(self.stage, n, "network", self.network, port=self.network))
        for i, (port, admin) in enumerate(self.apps, 1):
            self._start(f"app-{i}", lambda n, p=port, a=admin: bank(
                self.stage, n, "app", p, a, self._store, self.network, n, port=p))
        self._start("agent", lambda _: self.agent.start(conf))

    def _start(self, role, start):
        if role not in self.processes or not self.processes[role].is_alive():
            self.processes[role] = start(f"{self.name}-{role}")

    def signal(self, signo, *roles):
        for role in roles or self.processes:
            self.processes[role].signal(signo)

    def freeze(self, *roles):
        for role in roles or self.processes:
            self.processes[role].freeze()

    def kill(self, *roles):
        for role in roles or self.processes:
            self.processes[role].kill()


# The bank's contexts as routing alone sees them: every region may write, and the app applies each key once.
BANK_CONTEXTS = {name: {"topology": "multi-write", "app": "core", "routes": [route], "needs": needs, **more}
                 for name, route, needs, more in (
    ("ledger", "/ledger/{account}/**", [], {"idempotency": {"key": "required", "by": "app"}}),
    ("cards", "/cards/{card}/**", ["card-network"], {"idempotency": {"key": "optional", "by": "app"}}),
    ("profile", "/profile/{id}/**", [], {"idempotency": {"key": "optional", "by": "app"},
                                         "sticky": {"path": "id"}}),
    ("catalog", "/catalog", [], {}))}
BANK_CHECKS = {"card-network": {"status": 200, "body": "pong", "interval": "200ms", "timeout": "150ms",
                                "max-age": "2s", "fall": 2, "rise": 3}}


class Bank:
    """The sample application in two regions behind agents, and an edge in front."""

    def __init__(self, stage):
        self.store = lib.free_port()
        bank(stage, "store", "store", self.store, stage.path("bank.db"), port=self.store)
        self.west, self.north = (BankRegion(stage, n, self.store) for n in ("west", "north"))
        both = (self.west, self.north)
        self.edge = Edge(stage, {r.name: r.section(i) for i, r in enumerate(both, 1)}, start=False,
                         timeouts={"first-byte": "2s", "total": "15s"},
                         contexts=BANK_CONTEXTS, checks=BANK_CHECKS)
        regions = {r.agent.host: r for r in both}
        start_behind_agents(self.edge, [r.agent for r in both],
                            lambda agent: regions[agent.host].start(self.edge.path))

    def effects(self):
        """How often each idempotency key took effect in the store."""
        lines = lib.get(self.store, "/keys").body.decode().splitlines()
        return {key: int(times) for key, times in (line.rsplit(" ", 1) for line in lines)}


# -------- load --------


class Load:
    """bench-load, running: `rate` requests a second for `seconds`, whatever becomes of them, or as
    many as its connections can (rate 0; such a load keeps no log of its requests)."""

    def __init__(self, stage, port, seconds, name="get", rate=RATE, method="GET", keys=False,
                 path="/load/1"):
        self.name = name
        self._log = stage.path(f"{name}.requests")
        self._process = stage.start(f"load-{name}", [
            tool("bench-load"), "--warm-up-ms=0", f"--duration-ms={int(seconds * 1000)}",
            "--timeout-ms=20000", f"--method={method}", f"--path={path}",
            *([f"--rate={rate}", "--connections=16", "--connections-max=2000", f"--log={self._log}",
               "--id", f"--run={int.from_bytes(name.encode()[:4].ljust(4), 'big')}"] if rate else []),
            *(["--body=32"] if method == "POST" else []), *(["--key"] if keys else []), port])
        self._expected = rate * seconds
        wait_until(f"load {name} begins", lambda: '"begin"' in self._process.output()
                   or not self._process.is_alive())

    def is_running(self):
        return self._process.is_alive()

    def wait(self, seconds=120):
        """How often requests failed, by kind, once all are over."""
        check_equal(self._process.wait(seconds), 0, f"exit code of load {self.name}")
        said = json.loads(self._process.output().splitlines()[-1])
        check(said["requests"] > 0.9 * self._expected, f"load {self.name}: {said['requests']} requests")
        kinds = {k: n for k, n in said["failures"].items() if n and k != "status"}
        return {**kinds, **said["status"]}

    def wait_all_served(self, seconds=120):
        """The same, and not one of them failed."""
        check_equal(self.wait(seconds), {}, f"failed requests of load {self.name}")

    def requests(self):
        """As its clients saw them, by id."""
        return evidence.read_requests(self._log)


def sleep(seconds):
    """Part of a scenario: how long a fault lasts. Nothing is concluded from its length."""
    time.sleep(seconds)
