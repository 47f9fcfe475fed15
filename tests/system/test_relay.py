#!/usr/bin/env python3
"""`relay: true` with real processes: a command reaches its holder by way of another region's gate, once, and is written
down where it is executed. The application is this test: it writes down what it executes."""

import collections
import json
import socket
import ssl
import threading
import time

import lib
import servers
from lib import check, check_equal, wait_until
from fronted import Fronted
from test_authority import PATIENCE_S, old_is_well


class Forwarder:
    """A way that can be cut: TCP from a port of its own to another one."""

    def __init__(self, stage, to):
        self.to, self.port, self.whole = to, lib.free_port(), False
        self.open, self.lock = set(), threading.Lock()
        self.mend()
        stage.on_end(self.cut)

    def mend(self):
        self.whole, self.listener = True, socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        """Connections break, and no new ones are made."""
        if not self.whole:
            return
        self.whole = False
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            for s in self.open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                if not self.whole:
                    return
                near.close()
                continue
            with self.lock:
                self.open |= {near, far}
                if not self.whole:
                    near.close()
                    far.close()
                    return
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        with self.lock:
            self.open.discard(a)
        a.close()


class Site(Fronted):
    """Two regions and a witness; an edge whose ways to west's agents can be cut. `/on/...` is relayed."""

    def __init__(self, stage, by="gate", tls=False, hold="20s"):
        context = {"topology": "active-passive", "home": "west",
                   "routes": ["/{account}/**", {"path": "/on/{account}/**", "relay": True}],
                   "idempotency": {"key": "optional", "by": by}, "when-away": {"hold": hold, "commands": "reject"}}
        super().__init__(stage, context, tls)
        conf = json.loads(self.conf.read_text())
        self.ways = {k: Forwarder(stage, self.dial("west-1", k)) for k in ("gate", "peer")}
        for kind, way in self.ways.items():
            conf["hosts"]["west-1"][kind] = f"127.0.0.1:{way.port}"
        self.edge_conf = stage.write("edge.yaml", json.dumps(conf))
        self.executed, self.lock, self.delay_s = [], threading.Lock(), 0.0
        for region, server in self.apps.items():
            server.answer = lambda request, r=region: self.execute(r, request)

    def execute(self, region, request):
        if request.method != "POST":
            return servers.reply(200, region.encode())
        with self.lock:
            self.executed.append((region, request.body.decode(), (request.header("fulmar-authority") or "").strip(),
                                  (request.header("fulmar-mode") or "").strip()))
        time.sleep(self.delay_s)
        return servers.reply(201, f"done by {region}".encode())

    def dial(self, host, kind):
        return int(self.hosts[host][kind].rpartition(":")[2])

    def ask_gate(self, host, path, body, key=None, more=()):
        """As a client in a region whose way to everything but its own gate is cut. (status, headers, body)"""
        tries = 0
        while not (data := self.exchange(host, path, body, key, more)):  # a gate that was stalled hangs up
            check(tries < self.stalls_of(*self.processes), f"{path} of {body}: no answer")
            tries += 1
        head, _, rest = data.partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        return int(line.split()[1]), {n.lower(): v.strip() for n, _, v in (f.partition(":") for f in fields)}, rest

    def exchange(self, host, path, body, key, more):
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *more]
        lines += [f"Idempotency-Key: {key}"] if key else []
        with socket.create_connection(("127.0.0.1", self.dial(host, "gate")), timeout=60) as raw:
            s, data = raw, b""
            try:
                if self.tls:
                    trust = ssl.create_default_context(cafile=self.stage.path("peers-ca.pem"))
                    trust.load_cert_chain(self.stage.path("front.pem"), self.stage.path("front.key"))
                    s = trust.wrap_socket(raw, server_hostname=host)
                s.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
                while piece := s.recv(65536):
                    data += piece
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
                pass
        return data

    def knows(self, host):
        """{holder's region: epoch} as this host's gate was told."""
        cells = ((self.status(host) or {}).get("sub_leases") or {}).get("ledger", [])
        return {c["holder"]: c.get("known") or c["epoch"] for c in cells}

    def metric(self, port, name):
        for line in lib.get(port, "/metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return int(float(line.split()[1]))
        raise lib.Failure(f"no metric {name}")

    def relayed(self, host):
        return self.metric(self.dial(host, "admin"), "fulmar_gate_commands_relayed_total")

    def keys_at(self, host):
        doc = json.loads(self.command("journal", "list", "--host", host, "-o", "json"))
        return {e["key"]: e["region"] if "region" in e else None for e in doc["entries"]}

    def bodies(self):
        with self.lock:
            return collections.Counter(body for _, body, *_ in self.executed)


def through_the_others_gate(stage, tls):
    site = Site(stage, tls=tls).begin()
    wait_until("north knows who holds", lambda: "west" in site.knows("north-1"), PATIENCE_S)
    status, headers, body = site.ask_gate("north-1", "/on/alice/pay", "one", "k-1")
    check_equal((status, headers["fulmar-region"], body), (201, "west", b"done by west"), "answer")
    check_equal(site.executed, [("west", "one", "ledger/0@1", "normal")], "what the application saw")
    def is_told_again(host):
        again = site.ask_gate(host, "/on/alice/pay", "one", "k-1")
        if again[:1] == (409,) and again[1]["fulmar-problem"] == "key-in-flight":
            return False  # its outcome is not durable yet
        check_equal((again[0], again[2]), (201, b"done by west"), f"a repeat at {host}")
        return True
    wait_until("the journal of the holder answers", lambda: is_told_again("north-1"), PATIENCE_S)
    check_equal(site.ask_gate("north-1", "/on/alice/pay", "another", "k-1")[0], 422, "the same key for another one")
    wait_until("and directly, too", lambda: is_told_again("west-1"), PATIENCE_S)
    check_equal(site.bodies(), {"one": 1}, "what was executed")

    status, headers, _ = site.ask_gate("north-1", "/alice/pay", "two")
    check_equal((status, headers["fulmar-problem"]), (421, "not-holder"), "where the route does not say so")
    status, headers, _ = site.ask_gate("north-1", "/on/alice/pay", "three", more=["Fulmar-Mode: relayed"])
    check_equal((status, headers["fulmar-problem"]), (421, "not-holder"), "what was relayed before")
    check_equal(site.bodies(), {"one": 1}, "what was executed")
    check_equal((site.relayed("north-1") >= 3, site.relayed("west-1")), (True, 0), "relayed")

    wait_until("a move may begin", lambda: old_is_well(site, "west", "north"), PATIENCE_S)
    op = site.order("west-1", "move", 202, context="ledger", to="north")
    site.wait_for_op("west-1", op["id"], "done")
    wait_until("west knows who holds", lambda: "north" in site.knows("west-1"), PATIENCE_S)
    wait_until("west relays", lambda: site.ask_gate("west-1", "/on/alice/pay", "five", "k-5")[0] == 201, PATIENCE_S)
    check_equal(site.executed[-1], ("north", "five", "ledger/0@2", "normal"), "after a move")
    status, headers, _ = site.ask_gate("west-1", "/on/alice/pay", "six", more=["Fulmar-Authority: ledger/0@1"])
    check_equal((status, headers["fulmar-problem"]), (421, "not-holder"), "under the epoch before")
    check("k-5" in site.keys_at("north-1"), "the executing gate has written it down")
    check_equal(site.bodies(), {"one": 1, "five": 1}, "what was executed")
    site.judge()


def test_a_command_goes_through_the_others_gate(stage):
    """One hop, under the holder's epoch, in the holder's journal; everything else is refused as before."""
    through_the_others_gate(stage, tls=False)


def test_a_command_goes_through_the_others_gate_behind_tls(stage):
    """The same where hosts speak TLS with each other."""
    through_the_others_gate(stage, tls=True)


def test_the_holder_is_gone(stage):
    """Nobody listens: 503, not executed. It dies while it executes: 504, unknown, and not sent again."""
    site = Site(stage, by="app").begin()
    wait_until("north knows who holds", lambda: "west" in site.knows("north-1"), PATIENCE_S)
    site.delay_s = 30
    answer = {}

    def ask():
        answer["late"] = site.ask_gate("north-1", "/on/alice/pay", "late", "k-1")
    thread = threading.Thread(target=ask)
    thread.start()
    wait_until("it is being executed", lambda: site.executed)
    site.kill("west-1")
    thread.join()
    status, headers, _ = answer["late"]
    check_equal((status, headers["fulmar-problem"]), (504, "outcome-unknown"), "what was under way")
    status, headers, _ = site.ask_gate("north-1", "/on/alice/pay", "after")
    check_equal((status, headers["fulmar-problem"], "retry-after" in headers), (503, "unreachable", True), "after that")
    check_equal(site.bodies(), {"late": 1}, "what was executed")
    site.judge()


def test_an_edge_whose_way_is_cut(stage):
    """The edge hears nothing of the holder's region, which is well: commands of the route go by way of the other
    region, each is executed once, under the same epoch; when the way is mended they go directly again."""
    site = Site(stage).begin()
    site.start_edge("/on/a/pay")
    for i in range(10):
        check_equal(site.post("/on/alice/pay", f"before-{i}").status, 201, "status before the cut")
    check_equal(site.relayed("north-1"), 0, "relayed while the way is there")
    for way in site.ways.values():
        way.cut()
    for i in range(20):
        answer = site.post("/on/alice/pay", f"cut-{i}", f"key-{i}")
        check_equal((answer.status, answer.body), (201, b"done by west"), f"command {i} after the cut")
    check_equal(site.holders(), {"west": 1}, "holders: nothing has moved")
    check_equal(site.relayed("north-1") >= 20, True, "relayed by the gate")
    check(site.metric(site.edge_admin, "fulmar_edge_commands_relayed_total") >= 20, "sent round by the edge")
    again = site.post("/on/alice/pay", "cut-0", "key-0")
    check_equal((again.status, again.body), (201, b"done by west"), "a repeat")
    late = {}
    thread = threading.Thread(target=lambda: late.update(answer=site.post("/alice/pay", "not relayed")))
    thread.start()
    thread.join(2)
    check(thread.is_alive() and not late, "a command of another route is held")
    for way in site.ways.values():
        way.mend()
    thread.join()
    check_equal(late["answer"].status, 201, "what was held, when the way is mended")

    def goes_directly():
        had = site.relayed("north-1")
        return site.post("/on/alice/pay", "probe").status == 201 and site.relayed("north-1") == had
    wait_until("commands go directly", goes_directly, PATIENCE_S, every=0.1)
    before = site.relayed("north-1")
    for i in range(10):
        check_equal(site.post("/on/alice/pay", f"after-{i}").status, 201, "status after that")
    check_equal(site.relayed("north-1"), before, "relayed when the way is there again")
    done = site.bodies()
    twice = [body for body, n in done.items() if n > 1 and body != "probe"]
    check_equal(twice, [], "executed twice")
    check_equal(sum(done[f"{w}-{i}"] for w, n in (("before", 10), ("cut", 20), ("after", 10)) for i in range(n)), 40,
                "executed")
    check_equal({(r, a) for r, _, a, _ in site.executed}, {("west", "ledger/0@1")}, "by whom, and under which epoch")
    site.judge()


if __name__ == "__main__":
    lib.main(globals())
