#!/usr/bin/env python3
"""Authority with real processes on one machine: a file as coordination, agents of two regions and a witness.
Does exactly one region hold, whoever dies, freezes or is ordered to give; and does every order end as it says?

A watcher asks all gates, again and again, for as long as a test runs: a gate that holds under the same epoch
before and after another region's gate said that it holds, too, is a breach."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import lib
import processes
from lib import check, check_equal, wait_until
from servers import Server, reply

PATIENCE_S = 60.0  # for what takes leases and elections, on a busy machine
LEASE_S = 2.0


def host(region, number, roles):
    ports = {k: lib.free_port() for k in ("gate", "peer", "admin")}
    return {"region": region, "roles": roles, "address": "127.0.0.1",
            **{k: f"127.0.0.1:{p}" for k, p in ports.items() if k != "gate" or "gate" in roles}}


class Realm:
    """Regions of a service on this machine: {name: number of agents}; a region without any is a witness."""

    def __init__(self, stage, regions=None, contexts=None, failover=None, **more):
        self.stage = stage
        self.regions = regions or {"west": 1, "north": 1, "east": 0}
        self.apps = {r: Server(stage, lambda _, r=r: reply(200, r.encode())) for r, n in self.regions.items() if n}
        self.hosts = {"owner": host("west", 0, ["coordination"])}
        for r, n in self.regions.items():
            for i in range(max(n, 1)):
                self.hosts[f"{r}-{i + 1}"] = host(r, i + 1, ["gate", "health", "controller"] if n else ["witness"])
        failover = {"mode": "automatic", "grace": "0s", "at-most": "8 per 1h", **(failover or {})}
        common = {"needs": [], "lease": f"{LEASE_S:g}s", "failover": failover, "failback": {"soak": "1s"},
                  "idempotency": {"key": "optional", "by": "app"}, **more}
        contexts = contexts or {"ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"]}}
        self.conf = stage.write("fulmar.yaml", json.dumps({
            "fulmar": 1, "service": "bank", "state": f"{stage.dir}/{{host}}",
            "coordination": {"sqlite": f"{stage.dir}/c.db"}, "hosts": self.hosts,
            "regions": {r: {"priority": i + 1, "apps": [f"127.0.0.1:{self.apps[r].port}"]} if n else {"witness": True}
                        for i, (r, n) in enumerate(self.regions.items())},
            "contexts": {name: {**common, **c} for name, c in contexts.items()}}))
        self.contexts = contexts
        self.processes = {}
        self.breach = None
        self.watching = True
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self, *names):
        for name in names or self.hosts:
            port = int(self.hosts[name]["admin"].split(":")[1])
            self.processes[name] = self.stage.fulmar(name, "agent", "-c", self.conf, "--host", name, port=port)

    def begin(self):
        """Everybody runs, and every cell is held by its home."""
        self.start()
        self.watcher.start()
        self.stage.on_end(self.end_watching)
        for name, context in self.contexts.items():
            if context["topology"] == "active-passive":
                self.wait_for(name, context["home"])
        return self

    def end_watching(self):
        self.watching = False
        if self.watcher.is_alive():
            self.watcher.join()

    def agents(self, region):
        return [n for n, h in self.hosts.items() if h["region"] == region and n != "owner"]

    def kill(self, *names):
        for name in names:
            self.processes[name].kill()

    def freeze(self, *names, wake=False):
        for name in names:
            self.processes[name].signal(signal.SIGCONT if wake else signal.SIGSTOP)

    # -------- asking --------

    def ask(self, name, method, path, body=None, timeout=10):
        """(status, document) of an agent's local socket; (0, None) where nobody answers."""
        text = "" if body is None else json.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(timeout)
                s.connect(str(self.stage.path(name) / "agent.sock"))
                s.sendall((head + "\r\n" + text).encode())
                data = b""
                while piece := s.recv(1 << 16):
                    data += piece
        except OSError:
            return 0, None
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head:
            return 0, None
        try:
            return int(head.split()[1]), json.loads(rest)
        except ValueError:
            return int(head.split()[1]), None

    def status(self, name, timeout=10):
        return self.ask(name, "GET", "/status", timeout=timeout)[1]

    def authority(self, name):
        return (self.status(name) or {}).get("authority") or {}

    def cells(self, name, context="ledger"):
        """The cells as this agent has read them."""
        return self.authority(name).get("contexts", {}).get(context, {}).get("cells", [])

    def order(self, name, what, code=None, **body):
        """An order with a reason; its document. `code`: what it must be answered with."""
        status, doc = self.ask(name, "POST", f"/ops/{what}", {"reason": "a test", "by": "tester", **body})
        check(code is None or status == code, f"{what} {body}: {status} instead of {code}: {doc}")
        return doc

    def order_until(self, name, what, code, **body):
        """The same, again and again until it is answered like that: who was stalled gives everybody time to be heard,
        and takes nobody for lost meanwhile."""
        def answered():
            status, doc = self.ask(name, "POST", f"/ops/{what}", {"reason": "a test", "by": "tester", **body})
            return status == code and (doc,)
        return wait_until(f"{what} {body} is answered with {code}", answered, every=0.05)[0]

    def op(self, name, ident):
        return self.ask(name, "GET", f"/ops?id={ident}")[1] or {}

    def wait_for_op(self, name, ident, state, seconds=PATIENCE_S):
        """Until the operation is in this state; the operation."""
        def is_so():
            op = self.op(name, ident)
            return op if op.get("state") == state else None
        try:
            return wait_until(f"operation {ident} is {state}", is_so, seconds, every=0.02)
        except lib.Failure as failure:
            raise lib.Failure(f"{failure}; it is {self.op(name, ident)}") from None

    def stalls_of(self, *names):
        """How often this machine let these processes wait for so long (200 ms) that they closed what waited in their
        sockets: the outcome of a command that they had taken is not known then."""
        return sum(((self.status(name) or {}).get("totals") or {}).get("frozen_total") or 0 for name in names)

    def answer_to(self, ask):
        """What `ask` is answered. Where nobody can tell what became of it, it is asked again, but not more often than
        this machine was too slow."""
        tries = 0
        while True:
            try:
                answer, failure = ask(), None
            except (OSError, lib.Failure) as f:
                answer, failure = None, f
            if answer and answer.status not in (502, 504):
                return answer
            if tries >= self.stalls_of(*self.processes):
                if failure:
                    raise failure
                return answer
            tries += 1

    def held_by(self, name, context="ledger"):
        """{cell: epoch} of what this host's gate holds now; who is frozen says nothing."""
        stat = processes.stat_of(self.processes[name].pid) if name in self.processes else None
        patience_s = 1 if stat and stat[0] == "T" else 10
        cells = ((self.status(name, patience_s) or {}).get("sub_leases") or {}).get(context, [])
        return {c["cell"]: c["epoch"] for c in cells if c["holds"]}

    def holders(self, context="ledger", cell=0):
        """{region: epoch} by what gates say."""
        found = {}
        for name in self.processes:
            epoch = self.held_by(name, context).get(cell)
            if epoch:
                found[self.hosts[name]["region"]] = epoch
        return found

    def wait_for(self, context, region, cell=0, seconds=PATIENCE_S):
        """Until the gates of this region, and no others, hold the cell; the epoch."""
        def is_so():
            found = self.holders(context, cell)
            return found.get(region) if list(found) == [region] else None
        return wait_until(f"{region} holds {context}/{cell}", is_so, seconds, every=0.02)

    # -------- the watcher --------

    def _all_held(self):
        """{(region, host, context, cell, epoch)}, one host after the other."""
        for name, process in list(self.processes.items()):
            if not process.is_alive() or "gate" not in self.hosts.get(name, {"roles": []})["roles"]:
                continue
            sub = (self.status(name, 1) or {}).get("sub_leases") or {}
            yield name, {(context, c["cell"]): c["epoch"] for context, cells in sub.items() for c in cells if c["holds"]}

    def _watch(self):
        while self.watching and not self.breach:
            first = dict(self._all_held())
            second = dict(self._all_held())
            third = dict(self._all_held())
            for name, cells in first.items():
                for at, epoch in cells.items():
                    if third.get(name, {}).get(at) != epoch:
                        continue
                    for other, theirs in second.items():
                        if self.hosts[other]["region"] != self.hosts[name]["region"] and at in theirs:
                            self.breach = f"{other} held {at} at {theirs[at]} while {name} held it at {epoch}"
            time.sleep(0.02)

    def judge(self):
        self.end_watching()
        check(not self.breach, self.breach)


# -------- who holds --------


def test_the_home_holds_from_the_start(stage):
    """A store without anything in it: the home writes its cell at epoch 1, everybody else knows."""
    realm = Realm(stage).begin()
    check_equal(realm.holders(), {"west": 1}, "holders")
    for name in ("west-1", "north-1", "east-1"):
        cell = wait_until(f"{name} knows", lambda n=name: realm.cells(n))[0]
        check_equal((cell["region"], cell["epoch"], cell["state"]), ("west", 1, "held"), f"what {name} says")
    check_equal(realm.authority("east-1")["office"], "witness", "role of the witness")
    realm.judge()


def test_a_dead_holder_is_replaced(stage):
    """kill -9 of all of the holder's region: another one takes over at the next epoch, and keeps it."""
    realm = Realm(stage).begin()
    for round_, (old, new) in enumerate([("west", "north"), ("north", "west")]):
        wait_until("a failover may be automatic", lambda o=old, n=new: old_is_well(realm, o, n), PATIENCE_S)
        realm.kill(*realm.agents(old))
        check_equal(realm.wait_for("ledger", new), 2 + round_, "epoch")
        realm.start(*realm.agents(old))
        wait_until(f"{old} knows that {new} holds", lambda o=old, n=new: [c["region"] for c in realm.cells(
            realm.agents(o)[0])] == [n], PATIENCE_S)
        check_equal(realm.holders(), {new: 2 + round_}, "holders after it came back")
    realm.judge()


def old_is_well(realm, old, new):
    """The heir has settled, so that it may take over, and sees the holder well."""
    a = realm.authority(realm.agents(new)[0])
    return a.get("votes", {}).get(old, {}).get("well") and \
        a["contexts"]["ledger"]["own"]["chain"] == "hold" and "ledger" in a["votes"][new]["well"]


def test_a_frozen_holder_does_not_hold_when_it_wakes(stage):
    """SIGSTOP for longer than a lease, then SIGCONT: what the frozen gate says at once is that it does not hold."""
    realm = Realm(stage).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.freeze("west-1")
    check_equal(wait_until("north holds", lambda: realm.held_by("north-1").get(0), PATIENCE_S, every=0.02), 2, "epoch")
    realm.freeze("west-1", wake=True)
    for _ in range(50):
        check(not realm.held_by("west-1"), "the gate that was frozen says that it holds")
    check_equal(realm.wait_for("ledger", "north"), 2, "epoch")
    realm.judge()


def test_a_keeper_that_dies_is_replaced_in_its_region(stage):
    """kill -9 of the keeper: its deputy renews the lease; the cell stays, at its epoch."""
    realm = Realm(stage, regions={"west": 2, "north": 1, "east": 0}).begin()
    keeper = wait_until("a keeper", lambda: realm.authority("west-1").get("keeper"), PATIENCE_S)
    deputy = "west-2" if keeper == "west-1" else "west-1"
    wait_until("both gates hold", lambda: realm.held_by("west-1") == realm.held_by("west-2") == {0: 1}, PATIENCE_S)
    realm.kill(keeper)
    wait_until("the deputy is keeper", lambda: realm.authority(deputy).get("office") == "keeper", PATIENCE_S)
    wait_until("and holds", lambda: realm.authority(deputy)["contexts"]["ledger"]["own"]["chain"] == "hold", PATIENCE_S)
    wait_until("its gate, too", lambda: realm.held_by(deputy) == {0: 1}, PATIENCE_S)
    time.sleep(2 * LEASE_S)
    check_equal(realm.holders(), {"west": 1}, "holders")
    realm.judge()


def test_without_coordination_promises_carry_on(stage):
    """The owner of the file is dead: the holder goes on by the promises of the others, and stops when one is gone."""
    realm = Realm(stage).begin()
    wait_until("promises", lambda: realm.authority("west-1")["contexts"]["ledger"]["own"]["promised_left_ms"], PATIENCE_S)
    realm.kill("owner")
    end = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < end:
        check_equal(realm.holders(), {"west": 1}, "holders without coordination")
    check(realm.authority("west-1")["contexts"]["ledger"]["own"]["lease_left_ms"] is None, "its lease lives")
    realm.kill("north-1")
    wait_until("the holder stops", lambda: not realm.holders(), PATIENCE_S, every=0.02)
    realm.start("owner", "north-1")
    wait_until("somebody holds again", realm.holders, PATIENCE_S)
    realm.judge()


def test_a_region_that_is_back_keeps_what_it_knew(stage):
    """Restarted with its disk it goes on; with a damaged one it does not start; without, it is a new host."""
    realm = Realm(stage).begin()
    life = realm.authority("west-1")["life"]
    check_equal(realm.processes["west-1"].stop(), 0, "exit code")
    realm.start("west-1")
    wait_until("west is there", lambda: realm.authority("west-1").get("contexts"), PATIENCE_S)
    check(realm.authority("west-1")["life"] != life, "a life was used twice")
    realm.processes["west-1"].stop()
    marks = stage.path("west-1") / "authority.json"
    doc = json.loads(marks.read_text())
    check_equal(doc["contexts"]["ledger"]["epochs"][0] >= 1, True, "the epoch on the disk")
    whole = marks.read_text()
    marks.write_text(whole[:len(whole) // 2])
    broken = stage.start("broken", [lib.FULMAR, "agent", "-c", realm.conf, "--host", "west-1"])
    check_equal(broken.wait(), 1, "exit code with damaged marks")
    check("authority.json" in broken.output(), "it does not say which file")
    marks.unlink()
    realm.start("west-1")
    wait_until("west is there again", lambda: realm.authority("west-1").get("contexts"), PATIENCE_S)
    wait_until("somebody holds", realm.holders, PATIENCE_S)
    realm.judge()


def reseed(realm, *arguments):
    p = subprocess.run([lib.FULMAR, "coordination", "reseed", "-c", str(realm.conf), "--host", "west-1", "--reason",
                        "a test", "--timeout", "30s", *arguments], capture_output=True, text=True, timeout=120,
                       stdin=subprocess.DEVNULL)
    return p.returncode, p.stdout, p.stderr


def test_a_file_that_was_put_back(stage):
    """Of before a move, and everybody was restarted: what disks know is all there is to seed it anew from."""
    realm = Realm(stage).begin()
    file, copy = stage.path("c.db"), stage.path("copy.db")
    realm.processes["owner"].stop()
    shutil.copy(file, copy)
    realm.start("owner")
    realm.wait_for("ledger", "west")
    op = realm.order("west-1", "move", 202, context="ledger", to="north")
    realm.wait_for_op("west-1", op["id"], "done")
    epoch = realm.wait_for("ledger", "north")
    for name in ("west-1", "east-1"):
        wait_until(f"{name} knows", lambda n=name: [c["epoch"] for c in realm.cells(n)] == [epoch], PATIENCE_S)
    for name in ("north-1", "west-1", "east-1", "owner"):
        realm.processes[name].stop()
    for left in (f"{file}-wal", f"{file}-shm"):
        pathlib.Path(left).unlink(missing_ok=True)
    shutil.copy(copy, file)

    realm.start("owner", "west-1", "east-1")
    wait_until("west-1 is frozen", lambda: realm.authority("west-1").get("frozen"), PATIENCE_S)
    check_equal(realm.holders(), {}, "holders of a file that was put back")
    code, out, err = reseed(realm, "--confirm", "bank", "-o", "json")
    check_equal((code, json.loads(out)["rule"]), (3, "unreachable"), f"a region is away: {err}")
    realm.start("north-1")
    wait_until("north-1 is frozen", lambda: realm.authority("north-1").get("frozen"), PATIENCE_S)
    code, out, err = reseed(realm, "--confirm", "bank", "-o", "json")
    check_equal(code, 0, f"exit code of the new seed: {err}")
    doc = json.loads(out)
    check_equal((doc["contexts"], doc["not_yet"]), (
        {"ledger": [{"cell": 0, "to": "north", "epoch": epoch + 1, "seen_epoch": epoch, "stored_epoch": 1}]}, []),
        "what was written")
    after = realm.wait_for("ledger", "north")
    check(after > epoch, f"north holds again under epoch {after}, and held under {epoch} before")
    check_equal(reseed(realm, "--dry-run")[0], 3, "exit code of a plan for what is well")
    realm.judge()


# -------- orders --------


def test_a_planned_move_ends_at_the_heir(stage):
    """Moved there and back; the epoch grows by one each time, and everybody can say how it ended."""
    realm = Realm(stage).begin()
    for epoch, (at, to) in enumerate([("west-1", "north"), ("west-1", "west"), ("north-1", "north")], 2):
        op = realm.order(at, "move", 202, context="ledger", to=to)
        done = realm.wait_for_op(at, op["id"], "done")
        check_equal(done["items"][0]["to"], to, "where it went")
        check_equal(realm.wait_for("ledger", to), epoch, "epoch")
        for name in ("west-1", "north-1", "east-1"):
            realm.wait_for_op(name, op["id"], "done")
    again = realm.order("west-1", "move", 200, context="ledger", to="north")
    check_equal((again["state"], again["items"]), ("done", []), "a move to where it is")
    events = [e for e in realm.authority("north-1")["events"] if e["why"] == "acquired"]
    check(events and "epoch" in events[-1]["evidence"], "the event says nothing")
    realm.judge()


def test_orders_are_refused_with_the_rule(stage):
    """What must not be is answered 409 with rule, evidence and remedy, and nothing happens."""
    realm = Realm(stage).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    generation = realm.order("west-1", "move", 200, context="ledger", to="north", dry_run=True)["generation"]
    for code, rule, what, body in [
            (400, "malformed", "move", {"context": "ledger", "to": "north", "reason": ""}),
            (400, "malformed", "move", {"context": "ledger"}),
            (400, "malformed", "move", {"context": "ledger", "to": "north", "cells": [1]}),
            (404, "unknown-context", "move", {"context": "cards", "to": "north"}),
            (404, "unknown-region", "move", {"context": "ledger", "to": "south"}),
            (409, "cannot-hold", "move", {"context": "ledger", "to": "east"}),
            (409, "generation", "move", {"context": "ledger", "to": "north", "expect_generation": generation + 1}),
            (409, "holder-healthy", "failover", {"context": "ledger", "to": "north"}),
            (409, "nothing-to-take", "failover", {"context": "ledger", "to": "west"}),
            (409, "quote", "failover", {"context": "ledger", "to": "north", "quote": "20200101-000000-000000"}),
            (404, "unknown-operation", "abort", {"id": "20200101-000000-000000"}),
            (400, "malformed", "read-only", {"context": "ledger"}),
            (400, "malformed", "automatic", {"context": "ledger", "pause": True, "for_ms": -1})]:
        doc = realm.order("north-1", what, code, **body)
        check_equal(doc["rule"], rule, f"rule against {what} {body}")
        check(doc["evidence"] and doc["remedy"], f"{what} {body}: {doc}")
    check_equal(realm.ask("west-1", "POST", "/ops/nonsense", {})[0], 404, "an order that there is none of")
    check_equal(realm.ask("west-1", "GET", "/ops")[1]["operations"], [], "operations")
    admin = int(realm.hosts["west-1"]["admin"].split(":")[1])
    peer = int(realm.hosts["west-1"]["peer"].split(":")[1])
    body = json.dumps({"context": "ledger", "to": "north", "reason": "x"}).encode()
    json_type = [("Content-Type", "application/json")]
    check_equal(lib.request(admin, "POST", "/ops/move", json_type, body).status, 404, "an order at `admin`")
    check_equal(lib.request(peer, "POST", "/ops/move", json_type, body).status, 403, "an order of a peer without a name")
    check_equal(realm.holders(), {"west": 1}, "holders")
    realm.judge()


def test_an_order_survives_who_took_it(stage):
    """The keeper that took a move dies before the heir is ready: its deputy carries it out."""
    realm = Realm(stage, regions={"west": 2, "north": 1, "east": 0}).begin()
    keeper = wait_until("a keeper", lambda: realm.authority("west-1").get("keeper"), PATIENCE_S)
    deputy = "west-2" if keeper == "west-1" else "west-1"
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.freeze("north-1")  # it does not answer whether it is ready
    op = realm.order(keeper, "move", 202, context="ledger", to="north")
    realm.kill(keeper)
    realm.freeze("north-1", wake=True)
    realm.wait_for_op(deputy, op["id"], "done")
    check(realm.wait_for("ledger", "north") >= 2, "epoch")
    realm.judge()


def test_an_order_can_be_aborted(stage):
    """A move whose heir does not answer is aborted: the cell stays, and the next order goes through."""
    realm = Realm(stage, failover={"mode": "manual"}).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.freeze("north-1")
    op = realm.order("west-1", "move", 202, context="ledger", to="north")
    busy = realm.order("west-1", "move", 409, context="ledger", to="north")
    check(busy["rule"] in ("one-at-a-time", "ready"), f"a second move at once: {busy}")
    realm.order("west-1", "abort", 202, id=op["id"])
    realm.wait_for_op("west-1", op["id"], "aborted")
    realm.freeze("north-1", wake=True)
    check_equal(realm.wait_for("ledger", "west"), 1, "epoch")
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    op = realm.order("west-1", "move", 202, context="ledger", to="north")
    realm.wait_for_op("west-1", op["id"], "done")
    realm.judge()


def test_a_person_completes_what_assisted_asks(stage):
    """Assisted: it prepares and asks; a quote and a confirmation complete it; failback brings it home."""
    soak = "3s"  # long enough to be seen
    realm = Realm(stage, failover={"mode": "assisted"}, failback={"soak": soak}).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.kill("west-1")
    wait_until("it asks", lambda: realm.authority("north-1")["contexts"]["ledger"]["failover"].get(
        "west", {}).get("state") == "asking", PATIENCE_S)
    for dry in (True, False):  # every cell is at home there, and that helps nobody
        no = realm.order_until("north-1", "failback", 409, context="ledger", dry_run=dry)
        check_equal(no["rule"], "lost", "failback while home is dead")
        check("west holds cell 0 of ledger" in no["evidence"] and "fulmar failover" in no["remedy"], f"{no}")
    time.sleep(2 * LEASE_S)
    check_equal(realm.holders(), {}, "holders while nobody has consented")
    quote = realm.order("north-1", "quote", 200, context="ledger", to="north")
    check_equal((quote["loss_bytes"], quote["unbounded"], quote["from"]), (0, False, "west"), "what it costs")
    wanted = {"context": "ledger", "to": "north", "quote": quote["quote"]}
    wait_until("it is to be confirmed", lambda: realm.order("north-1", "failover", 409, **wanted)["rule"] == "confirm")
    op = realm.order_until("north-1", "failover", 202, **wanted, confirm="ledger")
    realm.wait_for_op("north-1", op["id"], "done")
    check_equal(realm.wait_for("ledger", "north"), 2, "epoch")
    too_early = f"west is not well: it was not heard for a while; it has to be for {soak}"

    def refused():  # who was stalled gives everybody time to be heard
        op = realm.order("north-1", "failback", 202, context="ledger")
        op = realm.wait_for_op("north-1", op["id"], "refused")
        check_equal(op["rule"], "home-not-well", "the rule of the order")
        return too_early in op["text"] and op
    early = wait_until("a failback is refused as west is not heard", refused, PATIENCE_S, every=0.1)
    for name in ("north-1", "east-1"):  # the keeper that decides it, and one that has to ask it
        def is_the_same(name=name):
            dry = realm.order(name, "failback", 409, context="ledger", dry_run=True)
            return (dry["rule"], dry["evidence"], dry["remedy"]) == (early["rule"], early["text"], early["remedy"])
        wait_until(f"a dry run at {name} says the same as the order", is_the_same, PATIENCE_S, every=0.1)
    realm.start("west-1")
    rules = []

    def would_go():
        dry = realm.order("east-1", "failback", context="ledger", dry_run=True)
        rules.append((dry.get("rule"), dry.get("evidence")))
        return "id" in dry and dry
    dry = wait_until("a dry run says that it would go home", would_go, PATIENCE_S, every=0.05)
    check_equal((dry["state"], dry["text"]), ("waiting", "1 cell would go home"), "what would be done")
    soaks = [text for rule, text in rules if rule == "soak"]
    check(soaks and "west has been well for " in soaks[0] and "left" in soaks[0], f"what it waited for: {rules}")
    check_equal(realm.holders(), {"north": 2}, "a dry run changes nothing")

    def home():
        op = realm.order("north-1", "failback", context="ledger")
        end = time.monotonic() + PATIENCE_S
        while "id" in op and time.monotonic() < end:
            state = realm.op("north-1", op["id"]).get("state")
            if state in ("done", "refused", "partial", "failed"):
                return state == "done"
            time.sleep(0.05)
        return False
    wait_until("home again", home, PATIENCE_S, every=0.3)
    check_equal(realm.wait_for("ledger", "west"), 3, "epoch")
    dry = realm.order("east-1", "failback", 200, context="ledger", dry_run=True)
    check_equal((dry["state"], dry["text"]), ("done", "every cell is home"), "nothing is left to do")
    realm.judge()


def test_automatic_can_be_paused(stage):
    """While automatic is paused a dead holder is not replaced; when it is resumed, it is."""
    realm = Realm(stage).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    realm.order("north-1", "automatic", 200, context="ledger", pause=True, for_ms=600000)
    realm.kill("west-1")
    wait_until("it asks", lambda: realm.authority("north-1")["contexts"]["ledger"]["failover"].get(
        "west", {}).get("why") == "paused", PATIENCE_S)
    time.sleep(2 * LEASE_S)
    check_equal(realm.holders(), {}, "holders while it is paused")
    realm.order("east-1", "automatic", 200, context="ledger", pause=False)
    check_equal(realm.wait_for("ledger", "north"), 2, "epoch")
    realm.judge()


def test_read_only_by_hand(stage):
    """Commands are refused with the operator's message, everywhere, until it is over."""
    realm = Realm(stage).begin()
    gate = int(realm.hosts["west-1"]["gate"].split(":")[1])

    def command():
        return realm.answer_to(lambda: lib.request(
            gate, "POST", "/ledger/1", [("Idempotency-Key", f'"{time.monotonic()}"')], b"x"))
    check_equal(command().status, 200, "a command")
    realm.order("north-1", "read-only", 200, context="ledger", on=True, message="For a moment.")
    wait_until("commands are refused", lambda: command().status == 503, PATIENCE_S)
    peer = int(realm.hosts["west-1"]["peer"].split(":")[1])
    check("For a moment." in lib.get(peer, "/authority/view").body.decode(), "the message is not in the view")
    check_equal(realm.answer_to(lambda: lib.get(gate, "/ledger/1")).status, 200, "a query")
    realm.order("west-1", "read-only", 200, context="ledger", on=False)
    wait_until("commands go through", lambda: command().status == 200, PATIENCE_S)
    realm.judge()


def test_a_region_is_evacuated(stage):
    """All that a region holds moves to others, planned; contexts that move together do."""
    contexts = {
        "ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"], "moves-with": ["loans"]},
        "loans": {"topology": "active-passive", "home": "west", "routes": ["/loans/**"], "moves-with": ["ledger"]},
        "cards": {"topology": "affinity", "cells": 4, "key": {"path": "card"}, "routes": ["/cards/{card}/**"]},
    }
    realm = Realm(stage, contexts=contexts).begin()
    for i in range(4):
        realm.wait_for("cards", ("west", "north")[i % 2], i)
    wait_until("north is ready", lambda: set(realm.authority("north-1")["votes"]["north"]["well"]) == set(contexts),
               PATIENCE_S)
    plan = realm.order("west-1", "evacuate", 200, region="west", dry_run=True)
    check_equal(len(plan["items"]), 4, "cells to move")
    op = realm.order("west-1", "evacuate", 202, region="west")
    realm.wait_for_op("west-1", op["id"], "done")
    for context, cells in (("ledger", 1), ("loans", 1), ("cards", 4)):
        for cell in range(cells):
            realm.wait_for(context, "north", cell)
    both = realm.order("north-1", "move", 202, context="loans", to="west")
    realm.wait_for_op("north-1", both["id"], "done")
    realm.wait_for("ledger", "west")
    realm.wait_for("loans", "west")
    realm.kill("west-1")
    realm.wait_for("ledger", "north")
    realm.wait_for("loans", "north")
    last = realm.order("north-1", "evacuate", 409, region="north")
    check_equal(last["rule"], "last-region", "the last region")
    realm.judge()


def test_nobody_takes_more_than_it_can_carry(stage):
    """A move to a region whose capacity is below what would come is refused, and so is automatic."""
    realm = Realm(stage)
    conf = json.loads(realm.conf.read_text())
    conf["regions"]["north"]["capacity"] = "5/s"
    realm.conf.write_text(json.dumps(conf))
    realm.begin()
    gate = int(realm.hosts["west-1"]["gate"].split(":")[1])
    loading = True

    def load():
        while loading:
            try:
                lib.get(gate, "/ledger/1")
            except (OSError, lib.Failure):
                pass  # a gate that was stalled closes its connections
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    wait_until("it is refused", lambda: realm.order("west-1", "move", context="ledger", to="north", dry_run=True).get(
        "rule") == "capacity", PATIENCE_S, every=0.1)
    loading = False
    thread.join()
    wait_until("it is taken", lambda: "items" in realm.order("west-1", "move", context="ledger", to="north", dry_run=True),
               PATIENCE_S, every=0.1)
    realm.judge()


def drained_realm(stage):
    """A realm with an edge; what it answers for any region, and what only for the holder; the intents."""
    contexts = {"ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"]},
                "profile": {"topology": "multi-write", "routes": ["/profile/**"]}}
    realm = Realm(stage, contexts=contexts)
    conf = json.loads(realm.conf.read_text())
    port, admin = lib.free_port(), lib.free_port()
    conf["edge"] = {"listen": [{"address": f"127.0.0.1:{port}"}]}
    conf["hosts"]["edge-1"] = {"region": "west", "roles": ["edge"], "address": "127.0.0.1", "admin": f"127.0.0.1:{admin}"}
    conf["contexts"]["profile"] = {**contexts["profile"], "needs": []}
    for name in ("west", "north"):
        conf["regions"][name]["capacity"] = "100/s"
    realm.conf.write_text(json.dumps(conf))
    realm.begin()
    edge = stage.fulmar("edge-1", "edge", "-c", realm.conf, "--host", "edge-1", port=admin)

    def who(method="GET", path="/profile/1"):
        headers = [("Idempotency-Key", f'"{time.monotonic()}"')] if method == "POST" else []
        body = b"x" if method == "POST" else b""
        return realm.answer_to(lambda: lib.request(port, method, path, headers, body)).body.decode()

    def intent(region):
        doc = json.loads(lib.get(admin, "/status").body)
        found = next(r for r in doc["regions"] if r["region"] == region)
        return {c["context"]: (c["intent"], c["serve_permille"]) for c in found["contexts"]}
    wait_until("the edge serves", lambda: who() == "west" and who("POST", "/ledger/1") == "west", PATIENCE_S)
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    return realm, edge, who, intent


def test_a_drained_region_gets_what_only_it_may_take(stage):
    """What any region may answer goes elsewhere until it is undrained; commands of the holder stay. An edge that starts
    again while nobody answers still knows."""
    realm, edge, who, intent = drained_realm(stage)
    plan = realm.order("north-1", "drain", 200, region="west", dry_run=True)
    check_equal((plan["state"], realm.authority("north-1")["intents"]), ("waiting", []), "a plan, and nothing done")
    op = realm.order("north-1", "drain", 200, region="west")
    check_equal((op["state"], op["region"]), ("done", "west"), "the order")
    check("the right to write stays with it (1 cell): `fulmar evacuate west` moves it" in op["text"], op["text"])
    wait_until("the edge drains it", lambda: intent("west")["profile"] == ("drain", 0), PATIENCE_S)
    check_equal({who() for _ in range(30)} | {who("POST") for _ in range(30)}, {"north"}, "who answers what anybody may")
    check_equal({who("POST", "/ledger/1") for _ in range(10)} | {who(path="/ledger/1") for _ in range(10)}, {"west"},
                "who answers for the holder")
    check_equal(intent("north")["profile"], ("serve", 1000), "the other region")
    gate = {c["context"]: c["intent"] for c in realm.status("west-1")["regions"][0]["contexts"]}
    check_equal(gate["profile"], "drain", "what the region's own gate says of it")
    direct = realm.answer_to(lambda: lib.get(int(realm.hosts["west-1"]["gate"].split(":")[1]), "/profile/1"))
    check_equal((direct.status, direct.body), (200, b"west"), "who asks its gate all the same")
    said = wait_until("west-1 knows", lambda: realm.authority("west-1")["intents"], PATIENCE_S)[0]
    check_equal((said["region"], said["context"], said["by"], said["reason"], said["until"], said["op"]),
                ("west", None, "tester", "a test", None, op["id"]), "what is said of it")
    event = [e for e in realm.authority("west-1")["events"] if e["what"] == "intent"][-1]
    check("by tester: a test" in event["evidence"] and (event["from"], event["to"]) == ("serve", "drain"), str(event))
    again = realm.order("west-1", "undrain", 200, region="west")
    check_equal(again["state"], "done", "the end")
    wait_until("it serves again", lambda: intent("west")["profile"] == ("serve", 1000), PATIENCE_S)
    check_equal({who() for _ in range(30)}, {"west"}, "who answers after it")
    check("is not drained" in realm.order("west-1", "undrain", 200, region="west")["text"], "once more")
    check_equal(realm.holders(), {"west": 1}, "holders")
    realm.judge()
    realm.order("west-1", "drain", 200, region="west", percent=40)
    wait_until("the edge drains a share", lambda: intent("west")["profile"] == ("drain", 600), PATIENCE_S)
    check_equal(edge.stop(), 0, "exit code of the edge")
    realm.kill("west-1", "north-1", "east-1", "owner")
    port = int(json.loads(realm.conf.read_text())["hosts"]["edge-1"]["admin"].split(":")[1])
    stage.fulmar("edge-again", "edge", "-c", realm.conf, "--host", "edge-1", port=port)
    check_equal(intent("west")["profile"], ("drain", 600), "from its disk")


def test_a_drain_ends_when_its_time_is_over(stage):
    """--for: the keepers count it down, and its end is written down like its beginning; also when who took it is dead."""
    realm, _, who, intent = drained_realm(stage)
    realm.order("north-1", "drain", 200, region="west", context="profile", for_ms=3000)
    realm.kill("north-1")
    said = wait_until("west-1 knows", lambda: realm.authority("west-1")["intents"], PATIENCE_S)[0]
    check(said["context"] == "profile" and said["until"] and 0 <= said["left_ms"] <= 3000, str(said))
    wait_until("it is over", lambda: not realm.authority("west-1")["intents"], PATIENCE_S)
    event = [e for e in realm.authority("west-1")["events"] if e["what"] == "intent"][-1]
    check("by fulmar: its time is over" in event["evidence"], str(event))
    wait_until("the edge knows", lambda: intent("west")["profile"] == ("serve", 1000), PATIENCE_S)
    wait_until("it serves", lambda: who() == "west", PATIENCE_S)
    realm.judge()


def test_drains_are_refused_with_the_rule(stage):
    """Never the last serving region, never beyond N-1 capacity but by an override, never what is no drain."""
    realm, *_ = drained_realm(stage)
    for code, rule, body in [
            (400, "malformed", {}), (404, "unknown-region", {"region": "south"}),
            (404, "unknown-context", {"region": "west", "context": "cards"}),
            (409, "nothing-to-drain", {"region": "west", "context": "ledger"}),
            (409, "witness", {"region": "east"}),
            (400, "malformed", {"region": "west", "percent": 0}),
            (400, "malformed", {"region": "west", "percent": 101}),
            (400, "malformed", {"region": "west", "for_ms": 0})]:
        doc = realm.order("north-1", "drain", code, **body)
        check_equal(doc["rule"], rule, f"rule against {body}")
        check(doc["evidence"] and doc["remedy"], f"{body}: {doc}")
    realm.order("north-1", "drain", 200, region="west", percent=60)
    doc = realm.order("north-1", "drain", 409, region="north", percent=60)
    check_equal(doc["rule"], "capacity", "more than N-1")
    check("80/s would be left for profile" in doc["evidence"] and "leave 100/s" in doc["evidence"], str(doc))
    realm.order("north-1", "drain", 200, region="north", percent=60, override=["capacity"])
    realm.order("north-1", "undrain", 200, region="north")
    realm.order("north-1", "drain", 200, region="west", context="profile")
    doc = realm.order("north-1", "drain", 409, region="north", context="profile", override=["capacity", "last-region"])
    check_equal(doc["rule"], "last-region", "the last region, whatever is overridden")
    realm.order("north-1", "undrain", 200, region="west")
    doc = realm.order("north-1", "drain", 409, region="north")
    check_equal(doc["rule"], "last-region", "while a context of the other one is drained")
    realm.judge()


def test_two_drains_at_once_leave_a_region(stage):
    """Two agents take an order each, of the two regions, at the same time: never both, whoever judged by what."""
    realm, *_ = drained_realm(stage)
    none = 0
    for _ in range(20):
        said = {}

        def give(at, region):
            said[region] = realm.ask(at, "POST", "/ops/drain", {"reason": "x", "by": "x", "region": region})
        threads = [threading.Thread(target=give, args=a) for a in (("west-1", "west"), ("north-1", "north"))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        done = [r for r, (status, _) in said.items() if status == 200]
        none += len(done) == 0
        check(len(done) <= 1, f"both regions are drained: {said}")
        rules = {doc["rule"] for status, doc in said.values() if status != 200}
        check(rules <= {"last-region", "generation"}, f"refused by {rules}")
        for r in done:
            wait_until("it is undrained", lambda r=r: realm.ask("west-1", "POST", "/ops/undrain", {
                "reason": "x", "by": "x", "region": r})[0] == 200, PATIENCE_S)
        for name in ("west-1", "north-1"):
            wait_until(f"{name} knows", lambda n=name: not realm.authority(n)["intents"], PATIENCE_S)
    check(none < 20, "no order ever went through")
    realm.judge()


def test_members_are_changed_by_an_order(stage):
    """An agent that is taken out of what is agreed is taken off the list: its promise is not missed any more."""
    realm = Realm(stage, regions={"west": 1, "north": 2, "east": 0}).begin()
    realm.processes["north-2"].stop()
    conf = json.loads(realm.conf.read_text())
    del conf["hosts"]["north-2"]
    realm.conf.write_text(json.dumps(conf))
    own = lambda: realm.authority("west-1")["contexts"]["ledger"]["own"]
    wait_until("its promise is missed", lambda: own()["promised_left_ms"] is None, PATIENCE_S)
    for name in ("west-1", "north-1", "east-1"):
        realm.processes[name].signal(signal.SIGHUP)
        wait_until(f"{name} has loaded it", lambda n=name: '"event":"reloaded"' in realm.processes[n].output())
    check(own()["promised_left_ms"] is None, "a file alone takes nobody off the list")
    applied = subprocess.run([lib.FULMAR, "config", "apply", "-c", realm.conf, "--host", "west-1", "--reason", "a test"],
                             capture_output=True, text=True, timeout=60)
    check_equal(applied.returncode, 0, f"exit code of config apply: {applied.stderr}")
    wait_until("promises are whole", lambda: own()["promised_left_ms"], PATIENCE_S)
    del realm.processes["north-2"]
    realm.judge()


def test_a_reload_keeps_what_is_held(stage):
    """Another priority, another context: what is held is held on, and the new context is served."""
    realm = Realm(stage).begin()
    conf = json.loads(realm.conf.read_text())
    conf["regions"] = {"east": conf["regions"]["east"], "north": {**conf["regions"]["north"], "priority": 1},
                       "west": {**conf["regions"]["west"], "priority": 2}}
    conf["contexts"]["loans"] = {**conf["contexts"]["ledger"], "home": "north", "routes": ["/loans/**"]}
    realm.conf.write_text(json.dumps(conf))
    for name in ("west-1", "north-1", "east-1"):
        realm.processes[name].signal(signal.SIGHUP)
        wait_until(f"{name} has loaded it", lambda n=name: '"event":"reloaded"' in realm.processes[n].output())
    realm.wait_for("loans", "north")
    check_equal(realm.wait_for("ledger", "west"), 1, "epoch")
    for port, path, answer in ((realm.hosts["west-1"]["gate"], "/ledger/1", 200),
                               (realm.hosts["north-1"]["gate"], "/loans/1", 200),
                               (realm.hosts["north-1"]["gate"], "/ledger/1", 421)):
        port = int(port.split(":")[1])
        wait_until(f"{path} at {port} is {answer}", lambda p=port, q=path, a=answer: realm.answer_to(
            lambda: lib.request(p, "POST", q, [("Idempotency-Key", f'"{time.monotonic()}"')], b"x")).status == a)
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
