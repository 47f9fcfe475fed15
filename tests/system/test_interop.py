#!/usr/bin/env python3
"""Programs of two versions beside each other: every daemon of a small deployment is stopped and started again as
the other program, one after the other and under load, and back. Nothing fails, nothing is done twice, and people
can give orders in between.

The other program is `fulmar-next` beside the one under test, which speaks one version more and says what this one
does not know; tests/soak/soak_interop.py takes that of an earlier commit."""

import collections
import json
import os
import pathlib
import threading
import time
import uuid

import lib
from lib import check, check_equal, wait_until
from regions import HUNG_UP
from servers import reply
from test_authority import PATIENCE_S, Realm

NEXT = pathlib.Path(lib.FULMAR).parent / "tests" / "fulmar-next"
RATE, CLIENTS, TIMEOUT_S, APP_S = 40.0, 40, 30.0, 0.05
TROUBLE = ("record_unreadable", "operation_unreadable", "intent_unreadable", "policy_unreadable",
           "own_messages_dropped", "message_dropped", "view_misfit", "view_not_written", "assertion_failed",
           "context_not_acted_upon")


class Load:
    """Commands with keys and queries, to the edges that a balancer would send to at the moment."""

    def __init__(self, ports):
        self.ports = list(ports)
        self.lock = threading.Lock()
        self.busy = {port: 0 for port in ports}
        self.failed, self.acknowledged, self.slowest, self.asked = [], {}, 0.0, 0
        self.running = True
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _run(self, i):
        n = i
        while self.running:
            time.sleep(CLIENTS / RATE)
            n += CLIENTS
            with self.lock:
                port = self.ports[n % len(self.ports)]
                self.busy[port] += 1
            self._one(port, n)
            with self.lock:
                self.busy[port] -= 1

    def _one(self, port, n):
        context = "ledger" if n % 2 else "cards"
        key = uuid.uuid4().hex
        begun = time.monotonic()
        try:
            if n % 3 == 0:
                r = lib.request(port, "GET", f"/{context}/{n % 7}", timeout=TIMEOUT_S)
            else:
                r = lib.request(port, "POST", f"/{context}/{n % 7}/pay", [("Idempotency-Key", key)], b"hi", TIMEOUT_S)
            said = None if r.status == 200 else f"{r.status} {r.body[:200]!r}"
        except (OSError, lib.Failure) as e:
            said = f"{type(e).__name__}: {e}"
        with self.lock:
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if said:
                self.failed.append((context, n % 3 == 0, time.monotonic(), said))
            elif n % 3:
                self.acknowledged[key] = context

    def without(self, port):
        """Nobody asks this edge any more."""
        with self.lock:
            self.ports.remove(port)
        wait_until("nobody waits for the edge", lambda: not self.busy[port], TIMEOUT_S)

    def goes_on(self, n=15):
        with self.lock:
            since = len(self.acknowledged)
        wait_until(f"{n} more commands are acknowledged", lambda: len(self.acknowledged) >= since + n, PATIENCE_S)

    def end(self):
        self.running = False
        for thread in self.threads:
            thread.join(TIMEOUT_S + 5)


class Deployment(Realm):
    """Two regions and a witness, who agree in a file; two edges; applications that remember keys."""

    def __init__(self, stage):
        super().__init__(stage, contexts={
            "ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"],
                       "idempotency": {"key": "required", "by": "gate"}},
            "cards": {"topology": "affinity", "cells": 4, "key": {"path": "card"}, "routes": ["/cards/{card}/**"],
                      "idempotency": {"key": "required", "by": "app"}}},
            **{"when-away": {"hold": "15s", "commands": "reject", "queries": "any"}})
        self.applied, self.lock = {}, threading.Lock()
        for name, app in self.apps.items():
            app.answer = lambda request, name=name: self._apply(request, name)
        conf = json.loads(pathlib.Path(self.conf).read_text())
        self.edges = {f"edge-{i}": (lib.free_port(), lib.free_port()) for i in (1, 2)}
        conf["hosts"] = dict(conf["hosts"])
        for name, (_, admin) in self.edges.items():
            conf["hosts"][name] = {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                                   "admin": f"127.0.0.1:{admin}"}
        conf["probe"] = {"app": "tcp", "interval": "200ms", "fast-interval": "50ms"}
        conf["timeouts"] = {"total": "25s"}
        for name, (port, _) in (("fulmar", (lib.free_port(), 0)), *self.edges.items()):
            conf["edge"] = {"workers": 1, "drain": {"finish": "20s"}, "listen": [{"address": f"127.0.0.1:{port}"}]}
            stage.write(f"{name}.yaml", json.dumps(conf))
        self.restarts, self.stalls = [], 0

    def _apply(self, request, region):
        key = request.header("idempotency-key")
        if key:
            with self.lock:
                self.applied.setdefault(key, []).append((region, request.header("fulmar-authority")))
        time.sleep(APP_S)  # so that something is under way whenever a daemon is stopped
        return reply(200, region.encode())

    def start_as(self, name, program):
        role = "edge" if name in self.edges else "agent"
        port = self.edges[name][1] if role == "edge" else int(self.hosts[name]["admin"].split(":")[1])
        conf = self.stage.path(f"{name}.yaml") if role == "edge" else self.conf
        self.processes[name] = self.stage.fulmar(name, role, "-c", conf, "--host", name, port=port,
                                                 program=program)

    def begin_as(self, program):
        for name in (*self.hosts, *self.edges):
            self.start_as(name, program)
        self.wait_for("ledger", "west")
        wait_until("every cell of the cards is held", lambda: all(
            self.holders("cards", cell) for cell in range(4)), PATIENCE_S, every=0.05)
        for name in self.edges:
            self.wait_for_edge(name)

    def wait_for_edge(self, name):
        """It listens, and knows who holds what; any region may go then."""
        port, admin = self.edges[name]
        wait_until(f"{name} takes commands", lambda: lib.listens(port) and lib.request(
            port, "POST", "/ledger/1/pay", [("Idempotency-Key", uuid.uuid4().hex)], b"hi").status == 200, PATIENCE_S,
                   every=0.1)
        wait_until(f"{name} sees every region well", lambda: all(
            c["health"] == "up" for r in lib.get(admin, "/status").json()["regions"]
            for c in r["contexts"]), PATIENCE_S, every=0.1)

    def roll(self, name, program, load):
        """Stop it as a service manager would, and start the other program."""
        if name in self.edges:
            load.without(self.edges[name][0])
        self.restarts.append((name, round(time.monotonic(), 2)))
        self.stalls += self.stalls_of(name)
        check_equal(self.processes.pop(name).stop(60), 0, f"exit code of {name}")
        self.start_as(name, program)
        if name in self.edges:
            self.wait_for_edge(name)
            load.ports.append(self.edges[name][0])
        elif name != "owner" and self.hosts[name]["region"] != "east":
            self.wait_until_it_serves(name)
        load.goes_on()

    def wait_until_it_serves(self, name):
        """It has read coordination and is granted what its region holds."""
        region = self.hosts[name]["region"]

        def is_so():
            cells = [(x, c["cell"]) for x in self.contexts for c in self.cells(name, x) if c["region"] == region]
            known = all(self.cells(name, x) for x in self.contexts)
            return known and all(cell in self.held_by(name, x) for x, cell in cells)
        wait_until(f"{name} serves again", is_so, PATIENCE_S, every=0.05)

    def log(self, event):
        """What daemons have said of this kind so far."""
        found = []
        for name in (*self.hosts, *self.edges):
            path = self.stage.path(f"{name}.log")
            for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
                if f'"event":"{event}"' in line:
                    found.append(line)
        return found


def order_about(realm, load):
    """A person moves the ledger, and back, and drains: whoever carries it out."""
    for to in ("north", "west"):
        asked = next(iter(realm.agents("east" if to == "north" else "north")))
        doc = realm.order(asked, "move", 202, context="ledger", to=to)
        realm.wait_for_op(asked, doc["id"], "done")
        realm.wait_for("ledger", to)
        load.goes_on()
    for asked, what in (("north-1", "drain"), ("west-1", "undrain")):
        doc = realm.order(asked, what, region="north") or {}
        known = doc.get("schema", "").startswith("fulmar.") or doc.get("status") == 404  # before there was such an order
        check(known, f"the answer to {what}: {doc}")


def judge(realm, load):
    load.end()
    realm.judge()
    stalls = realm.stalls + realm.stalls_of(*realm.hosts)
    if stalls:
        unknown = [f for f in load.failed if any(why in f[3] for why in HUNG_UP)]
        print(f"# the machine was too slow {stalls} times: {len(unknown)} requests were lost", flush=True)
        load.failed = [f for f in load.failed if f not in unknown]
    kinds = collections.Counter((context, "query" if query else "command", said[:60])
                                for context, query, _, said in load.failed)
    print(f"# {load.asked} requests, {len(load.failed)} failed, {len(load.acknowledged)} commands acknowledged, "
          f"the slowest answer after {load.slowest:.1f} s", flush=True)
    check(not load.failed, f"failed: {dict(kinds)} at {sorted({round(at, 2) for _, _, at, _ in load.failed})}; "
          f"restarts: {realm.restarts}")
    with realm.lock:
        missing = [k for k in load.acknowledged if k not in realm.applied]
        # the cards' application knows keys, and is asked again on purpose
        twice = {k: v for k, v in realm.applied.items() if len(v) > 1 and v[0][1].startswith("ledger/")}
    check(not missing, f"{len(missing)} acknowledged commands were never applied")
    check(not twice, f"{len(twice)} commands were applied twice: {list(twice.items())[:3]}")
    for event in TROUBLE:
        check(not realm.log(event), f"{event}: {realm.log(event)[:2]}")
    lost = [line for line in realm.log("peer_lost") if "version" in line or "refused" in line]
    check(not lost, f"a host did not understand another: {lost[:2]}")


def roll_through(stage, first, *programs):
    """From program to program, each time with orders in the middle: no request fails."""
    for program in (first, *programs):
        if not os.access(program, os.X_OK):
            raise lib.Skip(f"there is no other program at {program}")
    realm = Deployment(stage)
    realm.begin_as(first)
    realm.watcher.start()
    stage.on_end(realm.end_watching)
    load = Load([port for port, _ in realm.edges.values()])
    load.goes_on()
    names = ["north-1", "edge-1", "east-1", "west-1", "owner", "edge-2"]
    for program in programs:
        for i, name in enumerate(names):
            realm.roll(name, program, load)
            if i == 2:
                order_about(realm, load)
        names.reverse()
    spoken = {name: realm.status(name) for name in realm.hosts}
    judge(realm, load)
    return {name: (said or {}).get("protocol", {}).get("speaks") for name, said in spoken.items()}


def test_rolling_restart(stage):
    """From this program to one that speaks one version more, and back."""
    spoken = roll_through(stage, lib.FULMAR, NEXT, lib.FULMAR)
    check_equal(set(spoken.values()), {1}, "protocol of the program under test")


def post(realm, name, doc):
    port = int(realm.hosts[name]["peer"].split(":")[1])
    return lib.request(port, "POST", "/peer/1/post", [("Content-Type", "application/json")], json.dumps(doc).encode())


def test_further_away_is_refused(stage):
    """A host that speaks two versions more is not misread: it is told why, and /status says what is spoken."""
    realm = Realm(stage).begin()
    said = realm.status("west-1")["protocol"]
    speaks_, (least, most) = said["speaks"], said["reads"]
    check(least <= speaks_ == most - 1, f"protocol: {said}")
    envelope = {"from": "north-1", "life": 1, "messages": []}
    answer = post(realm, "west-1", {"v": most, **envelope, "more": [1]})
    check_equal((answer.status, json.loads(answer.body)["v"]), (200, speaks_), "the next version")
    for doc in ({"v": most + 1, **envelope}, {"v": 0, **envelope}):
        answer = post(realm, "west-1", doc)
        check_equal(answer.status, 400, f"status for {doc}")
        check(f"this program reads {least} to {most}".encode() in answer.body, f"the reason: {answer.body}")
    answer = post(realm, "west-1", {"v": speaks_, "must": ["fence"], "fence": 1, **envelope})
    check_equal((answer.status, b"must be understood" in answer.body), (400, True), f"a must: {answer.body}")
    wait_until("each knows what the other speaks", lambda: realm.authority("west-1")["peers"]["north-1"]["protocol"]
               == speaks_, PATIENCE_S)
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
