#!/usr/bin/env python3
"""The view of an edge: who holds what, from agents and from its disk. Agents and gates are servers of this
test, so that they can say anything, be silent, and be gone."""

import json
import pathlib
import signal
import subprocess
import time

import lib
import servers
import world
from lib import check, check_equal, wait_until

REGIONS = ("west", "north")


def view(generation, holder, epoch, cells=1, **more):
    """A view in which `holder` holds all of the context `ledger`."""
    return {"schema": "fulmar.view/1", "service": "test", "incarnation": 1, "generation": generation,
            "contexts": {"ledger": {
                "incarnation": 1, "generation": generation, "lease_ms": 2000, "read_only": False, "message": "",
                "cells": [{"region": holder, "state": "held", "epoch": epoch, "gentle_from": epoch}] * cells}},
            **more}


class Region:
    """An agent that says what it is told to, and a gate that takes everything and says where it was taken."""

    def __init__(self, stage, name):
        self.name, self.says = name, None
        self.peer = servers.Server(stage, self._peer)
        self.gate = servers.Server(stage, self._gate)

    def _peer(self, request):
        if request.target.startswith("/health/deep"):
            return servers.reply(body=json.dumps({
                "schema": "fulmar.health/1", "contexts": {"ledger": {"capable": True}}}).encode(),
                headers=[("Content-Type", "application/json")])
        if not request.target.startswith("/authority/view") or self.says is None:
            return servers.reply(503)
        said = self.says
        if isinstance(said, dict) and f"after=1.{said['generation']}&" in request.target:
            deadline = time.monotonic() + 2  # it is known: wait for news
            while self.says is said and time.monotonic() < deadline:
                time.sleep(0.005)
            if self.says is said:
                return servers.reply(204)
        body = self.says if isinstance(self.says, bytes) else json.dumps(self.says).encode()
        return servers.reply(body=body, headers=[("Content-Type", "application/json")])

    def _gate(self, request):
        return servers.reply(body=self.name.encode(), headers=[
            ("X-Authority", request.header("fulmar-authority") or "none")])

    def section(self):
        return {"region": self.name, "roles": ["gate", "health", "controller"], "address": "127.0.0.1",
                "gate": f"127.0.0.1:{self.gate.port}", "peer": f"127.0.0.1:{self.peer.port}",
                "admin": f"127.0.0.1:{lib.free_port()}"}


class Edge(world.Edge):
    """In front of both, with a page `ready`."""

    def __init__(self, stage, regions, start=True):
        self.ready_port = lib.free_port()
        admin = lib.free_port()
        hosts = {f"{r.name}-1": r.section() for r in regions}
        hosts["edge-1"] = {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                           "admin": f"127.0.0.1:{admin}"}
        super().__init__(
            stage, {r.name: [9] for r in regions},
            contexts={"ledger": {
                "topology": "active-passive", "home": "west", "routes": ["/**"], "needs": [],
                "idempotency": {"key": "optional", "by": "app"},
                "when-away": {"hold": "30s", "commands": "reject"}}},
            edge={"ready": {"address": f"127.0.0.1:{self.ready_port}", "path": "/ready"},
                  "drain": {"announce": "0s", "finish": "1s"}},
            hosts=hosts, start=False, **{
                "peer-tls": "plaintext",
                "coordination": {"etcd": {"endpoints": {"west": ["http://127.0.0.1:1"]}}},
                "probe": {"interval": "200ms", "fast-interval": "50ms"}})
        self.admin = admin
        if start:
            self.start()

    @property
    def state(self):
        return pathlib.Path(self.conf["state"].replace("{host}", "edge-1"))

    def ready(self):
        return lib.get(self.ready_port, "/ready").status

    def view(self):
        return self.status()["view"]

    def generation(self):
        return self.view()["generation"]

    def post(self, seconds=20):
        return lib.request(self.port, "POST", "/x", body=b"{}", timeout=seconds)

    def stop(self):
        check_equal(self.process.stop(), 0, "exit code of the edge")


def keeps(state, generation):
    """Has it this view on its disk?"""
    file = state / "view"
    return file.exists() and f'"generation":{generation},'.encode() in file.read_bytes()


def start(stage, says=None):
    regions = [Region(stage, name) for name in REGIONS]
    for r in regions:
        r.says = says
    return regions, Edge(stage, regions)


def test_follows_who_holds_what(stage):
    """Commands go to the holder that the view names, with its epoch; a move is followed at once."""
    (west, north), edge = start(stage, view(41, "west", 7))
    wait_until("the edge knows", lambda: edge.ready() == 200)
    wait_until("regions are well", lambda: edge.post().status == 200)
    answer = edge.post()
    check_equal((answer.body, answer.header("x-authority")), (b"west", "ledger/0@7"), "before the move")
    north.says = view(42, "north", 8)
    wait_until("the move is known", lambda: edge.generation() == 42)
    answer = edge.post()
    check_equal((answer.body, answer.header("x-authority")), (b"north", "ledger/0@8"), "after the move")
    west.says = view(40, "west", 6)  # one that lags behind, or lies
    time.sleep(0.3)
    check_equal((edge.post().body, edge.generation()), (b"north", 42), "never back")
    west.says = b"\\0\\1 nonsense"
    wait_until("it is left", lambda: any(line["host"] == "west-1" for line in edge.log("view_source_left")))
    check_equal(edge.post().body, b"north", "after nonsense")
    table = subprocess.run([lib.FULMAR, "status", "-c", edge.path, "--host", "edge-1"], capture_output=True,
                           text=True, check=True).stdout
    check("view: generation 42 of incarnation 1, from north-1" in table, table)
    rows = [line.split() for line in table.splitlines()]
    check(["ledger", "0", "north", "held", "8"] in rows, table)
    edge.stop()


def test_is_not_ready_without_a_view(stage):
    """Before the first view `ready` says no, and commands wait; queries of other contexts are not concerned."""
    (west, _), edge = start(stage)
    wait_until("it answers", lambda: edge.ready() == 503)
    time.sleep(0.3)
    check_equal((edge.ready(), edge.view()["known"]), (503, False), "without a view")
    check_equal(edge.log("view_loaded"), [], "what it loaded")
    begun = time.monotonic()
    west.says = view(41, "west", 7)
    wait_until("it is ready", lambda: edge.ready() == 200)
    check(edge.post().status == 200, "no answer")
    print(f"# ready after {time.monotonic() - begun:.2f} s", flush=True)


def restart(edge, how=signal.SIGKILL):
    edge.process.signal(how)
    edge.process.wait(20)
    edge.start()


def test_starts_from_its_disk(stage):
    """kill -9, and every agent gone: the edge serves at once from the view it had kept."""
    (west, north), edge = start(stage, view(41, "west", 7))
    wait_until("the edge knows", lambda: edge.generation() == 41)
    west.says = north.says = view(42, "north", 8)
    wait_until("the move is known", lambda: edge.generation() == 42)
    wait_until("it is kept", lambda: keeps(edge.state, 42))
    for r in (west, north):
        r.peer.kill()
    restart(edge)
    wait_until("it is ready", lambda: edge.ready() == 200, 10)
    answer = edge.post()
    check_equal((answer.status, answer.body, answer.header("x-authority")), (200, b"north", "ledger/0@8"),
                "from disk")
    v = edge.view()
    check_equal((v["stored"], v["generation"], v["age_ms"], v["file"]["refused"]), (True, 42, None, None), "view")
    table = subprocess.run([lib.FULMAR, "status", "-c", edge.path, "--host", "edge-1"], capture_output=True,
                           text=True, check=True).stdout
    check("from this host's disk; no agent has answered yet" in table, table)
    for r in (west, north):
        r.peer.listen()
        r.says = view(43, "west", 9)
    wait_until("it follows again", lambda: edge.generation() == 43, 30)
    check_equal(edge.post().body, b"west", "the newest")


def test_a_damaged_view_is_refused(stage):
    """Torn, emptied, tampered with: the older one is used, and everybody is told."""
    (west, north), edge = start(stage, view(41, "west", 7))
    wait_until("the edge knows", lambda: edge.generation() == 41)
    west.says = north.says = view(42, "north", 8)
    wait_until("it is kept", lambda: keeps(edge.state, 42))
    edge.stop()
    for r in (west, north):
        r.peer.kill()
    good = (edge.state / "view").read_bytes()
    bad = {"torn": good[:-1], "empty": b"", "longer": good + b"\n",
           "tampered": good.replace(b'"epoch":8', b'"epoch":9'), "another": good.replace(b"view 1", b"view 2")}
    for what, data in bad.items():
        check(data != good, what)
        before = len(edge.log("view_file_refused"))
        (edge.state / "view").write_bytes(data)
        edge.start()
        v = edge.view()
        check_equal((v["generation"], v["file"]["older_used"]), (41, True), what)
        check(v["file"]["refused"], f"{what}: not told")
        wait_until(f"{what} is told in the log", lambda: len(edge.log("view_file_refused")) > before)
        wait_until("it serves", lambda: edge.post().body == b"west", 20)
        edge.stop()
    (edge.state / "view.old").write_bytes(good[:100])  # and now neither is good
    edge.start()
    check_equal((edge.view()["known"], edge.ready()), (False, 503), "without any")
    edge.stop()
    (edge.state / "view").write_bytes(good)
    edge.start()
    check_equal(edge.view()["generation"], 42, "the good one")


class Agent:
    """A real one without the role `controller`, in the region of a hand-made one."""

    def __init__(self, stage, edge, name="west-2"):
        self.stage, self.edge, self.name = stage, edge, name
        self.peer, self.admin = lib.free_port(), lib.free_port()
        edge.conf["hosts"][name] = {
            "region": "west", "roles": ["gate", "health"], "address": "127.0.0.1",
            "gate": f"127.0.0.1:{lib.free_port()}", "peer": f"127.0.0.1:{self.peer}",
            "admin": f"127.0.0.1:{self.admin}"}
        edge.write()
        self.process = None

    def start(self):
        self.process = self.stage.fulmar(self.name, "agent", "-c", self.edge.path, "--host", self.name,
                                         port=self.admin)

    def get(self, path):
        return lib.get(self.peer, path, timeout=20)

    def generation(self):
        answer = self.get("/authority/view")
        return answer.json()["generation"] if answer.status == 200 else None


def test_an_agent_hands_on_what_it_follows(stage):
    """An agent without controller follows one, serves its view to edges and the feed to others, and keeps it."""
    regions = [Region(stage, name) for name in REGIONS]
    west, north = regions
    edge = Edge(stage, regions, start=False)
    agent = Agent(stage, edge)
    agent.start()
    check_equal(agent.get("/authority/view").status, 503, "without a view")
    west.says = view(41, "west", 7)
    wait_until("it knows", lambda: agent.generation() == 41)
    check_equal(agent.get("/authority/view?after=1.41").status, 204, "nothing newer")
    feed = agent.get("/authority/feed?context=ledger").json()
    check_equal((feed["schema"], feed["contexts"]["ledger"]["cells"]),
                ("fulmar.feed/1", [{"region": "west", "held": True, "epoch": 7}]), "feed")
    check_equal(lib.get(agent.admin, "/status").json()["view"]["from"], "west-1", "status")
    for r in regions:
        r.peer.kill()  # the edge has only this one
    edge.start()
    wait_until("the edge knows", lambda: edge.generation() == 41)
    check_equal(edge.view()["from"], "west-2", "from whom")
    north.peer.listen()
    north.says = view(42, "north", 8)
    wait_until("the agent follows elsewhere", lambda: agent.generation() == 42, 30)
    wait_until("and hands it on", lambda: edge.generation() == 42)
    wait_until("it is kept", lambda: keeps(stage.path("edge-state") / "west-2", 42))
    north.peer.kill()
    agent.process.kill()
    agent.start()
    check_equal(agent.generation(), 42, "from its disk")
    agent.process.signal(signal.SIGHUP)
    wait_until("it reloads", lambda: '"reloaded"' in agent.process.output())
    check_equal(agent.generation(), 42, "after a reload")
    check_equal(agent.process.stop(), 0, "exit code of the agent")


# -------- the whole of it --------


class Service:
    """Two regions with an agent for the controller and one for the gate each, a witness, coordination and an
    edge."""

    def __init__(self, stage):
        self.stage, self.processes = stage, {}
        self.apps = {r: servers.Server(stage, self._app(r)) for r in REGIONS}
        self.edge = Edge(stage, [], start=False)
        conf, self.hosts = self.edge.conf, {}
        roles = {"c": ["controller", "health"], "g": ["gate", "health"]}
        for r in REGIONS:
            for kind, names in roles.items():
                self._host(f"{r}-{kind}", r, names)
        self._host("store", "east", ["coordination"])
        self._host("east-w", "east", ["witness"])
        conf["hosts"].update(self.hosts)
        conf["regions"] = {r: {"apps": [f"127.0.0.1:{self.apps[r].port}"]} for r in REGIONS}
        conf["regions"]["east"] = {"witness": True}
        conf["coordination"] = {"sqlite": str(stage.path("c.db"))}
        conf["contexts"]["ledger"].update({
            "lease": "2s", "queries": "home", "failover": {"mode": "automatic", "grace": "0s"}, "when-away": {"hold": "4s", "commands": "reject", "queries": "any"}})
        self.edge.write()

    @staticmethod
    def _app(region):
        return lambda request: servers.reply(body=f"{region} {request.method}".encode())

    def _host(self, name, region, roles):
        port = {n: f"127.0.0.1:{lib.free_port()}" for n in ("gate", "peer", "admin")}
        if "gate" not in roles:
            del port["gate"]
        self.hosts[name] = {"region": region, "roles": roles, "address": "127.0.0.1", **port}

    def start(self, *names):
        for name in names or ("store", *(n for n in self.hosts if n != "store")):
            self.processes[name] = self.stage.fulmar(
                name, "agent", "-c", self.edge.path, "--host", name,
                port=int(self.hosts[name]["admin"].rpartition(":")[2]))

    def kill(self, *names):
        for name in names:
            self.processes[name].kill()


def test_serves_while_nobody_decides(stage):
    """Controllers and coordination dead, then every agent: an edge that is killed meanwhile starts from its disk
    and serves queries of the last holder at once, and says what it knows."""
    s = Service(stage)
    s.start()
    edge = s.edge
    edge.start()
    wait_until("commands flow", lambda: edge.post().status == 200, 60, every=0.1)
    check_equal(edge.post().body, b"west POST", "the holder")
    s.kill("west-c", "west-g")
    wait_until("north has it", lambda: edge.post().body == b"north POST", 60, every=0.1)
    before = edge.view()
    wait_until("the view is kept", lambda: keeps(edge.state, edge.generation()))
    check_equal(before["contexts"]["ledger"]["cells"][0]["region"], "north", "holder")

    s.kill("store", "north-c", "east-w")
    edge.process.kill()
    begun = time.monotonic()
    edge.start()
    wait_until("it is ready", lambda: edge.ready() == 200, 10)
    answer = edge.get("/x")
    check_equal((answer.status, answer.body), (200, b"north GET"), "a query")
    print(f"# killed, ready and answering after {time.monotonic() - begun:.2f} s", flush=True)
    after = edge.view()
    check_equal((after["stored"], after["generation"], holders(after)), (True, before["generation"], holders(before)),
                "the stored view")
    wait_until("commands stop with the lease", lambda: edge.post().status == 503, 30, every=0.2)
    check_equal(edge.get("/x").body, b"north GET", "a query without authority")

    s.kill("north-g")
    good = (edge.state / "view").read_bytes()
    for damage in (good, good[:-7], good.replace(b'"north"', b'"south"')):
        edge.process.kill()
        (edge.state / "view").write_bytes(damage)
        edge.start()
        v, whole = edge.view(), damage == good
        check_equal((v["known"], v["stored"], v["file"]["older_used"]), (True, True, not whole), "known from disk")
        check_equal((edge.ready(), v["generation"] == before["generation"]), (200, whole), "ready")
    edge.process.kill()
    (edge.state / "view").write_bytes(good)
    edge.start()
    s.start()
    wait_until("commands flow again", lambda: edge.post().status == 200, 60, every=0.2)


def holders(v):
    return [(c["region"], c["epoch"]) for c in v["contexts"]["ledger"]["cells"]]


def test_another_number_of_cells_is_refused(stage):
    """A view that does not fit the file of this host is refused loudly; what it knew stays."""
    (west, north), edge = start(stage, view(41, "west", 7))
    wait_until("the edge knows", lambda: edge.generation() == 41)
    west.says = north.says = view(42, "north", 8, cells=2)
    wait_until("it is told", lambda: edge.view()["misfit"])
    check_equal(wait_until("it is in the log", lambda: edge.log("view_misfit"))[0]["why"],
                "context `ledger` has 2 cells in the view, and 1 in the file of this host", "the log")
    check_equal(edge.view()["contexts"]["ledger"]["cells"][0]["region"], "west", "holder")


if __name__ == "__main__":
    lib.main(globals())
