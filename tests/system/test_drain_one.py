#!/usr/bin/env python3
"""One of several is drained, under load: an instance, a gate, an edge. Nothing fails, nothing new arrives
there once those who choose have taken it over, and it comes back."""

import json
import signal
import sqlite3
import threading
import time

import lib
from lib import check, check_equal, wait_until
from servers import Server, reply
from test_authority import PATIENCE_S, Realm, old_is_well
from test_orders import Operator


class Load:
    """Queries that any region may answer, and commands of the holder, without a pause; who answered."""

    def __init__(self, stage, port, threads=2):
        self.port, self.failed, self.done, self.running = port, [], 0, True
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        stage.on_end(self.end)
        for t in self.threads:
            t.start()

    def _run(self, number):
        n = 0
        while self.running:
            n += 1
            for method, path in (("GET", "/profile/1"), ("POST", "/ledger/1")):
                headers = [("Idempotency-Key", f'"{number}-{n}"')] if method == "POST" else []
                try:
                    answer = lib.request(self.port, method, path, headers, b"x" if method == "POST" else b"")
                    status = answer.status
                except OSError as e:
                    status = e
                if status != 200:
                    self.failed.append((method, path, status))
                self.done += 1

    def more(self, n=100):
        """Until so many more are done."""
        wait_until(f"{n} more requests", lambda at=self.done: self.done >= at + n, PATIENCE_S)

    def end(self):
        self.running = False
        for t in self.threads:
            t.join()


class Parts:
    """West with two gates and two instances, north with one of each; an edge in front."""

    def __init__(self, stage, by="app", **more):
        contexts = {"ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"],
                               "idempotency": {"key": "optional", "by": by}},
                    "profile": {"topology": "multi-write", "routes": ["/profile/**"], "needs": []}}
        self.stage = stage
        self.realm = Realm(stage, regions={"west": 2, "north": 1, "east": 0}, contexts=contexts,
                           failover={"mode": "manual"}, **more)
        self.slow = threading.Event()
        self.second = Server(stage, self._answer)
        conf = json.loads(self.realm.conf.read_text())
        self.first = f"127.0.0.1:{self.realm.apps['west'].port}"
        self.other = f"127.0.0.1:{self.second.port}"
        conf["regions"]["west"]["apps"] = [self.first, self.other]
        conf["contexts"]["profile"] = {**contexts["profile"]}
        self.port, self.ready = lib.free_port(), lib.free_port()
        self.admin = {"edge-1": lib.free_port()}
        conf["hosts"]["edge-1"] = {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                                   "admin": f"127.0.0.1:{self.admin['edge-1']}"}
        conf["edge"] = {"listen": [{"address": f"127.0.0.1:{self.port}"}],
                        "ready": {"address": f"127.0.0.1:{self.ready}"}}
        for name in ("west", "north"):
            conf["regions"][name]["capacity"] = "100/s"
        self.realm.conf.write_text(json.dumps(conf))
        self.realm.begin()
        self.edge = stage.fulmar("edge-1", "edge", "-c", self.realm.conf, "--host", "edge-1", port=self.admin["edge-1"])
        wait_until("the edge serves", lambda: lib.get(self.port, "/profile/1").status == 200 and lib.request(
            self.port, "POST", "/ledger/1", [("Idempotency-Key", '"begin"')], b"x").status == 200, PATIENCE_S)
        wait_until("north is ready", lambda: old_is_well(self.realm, "west", "north"), PATIENCE_S)
        self.operator = Operator(self.realm, "west-1")

    def _answer(self, request):
        if request.target == "/profile/slow":
            self.slow.wait(PATIENCE_S)
        return reply(200, b"west")

    def endpoints(self, name):
        """{address: intent} of all regions, as this process sees them."""
        doc = json.loads(lib.get(self.admin[name], "/status").body) if name in self.admin else self.realm.status(name)
        return {e["address"]: e["intent"] for r in doc["regions"] for e in r["endpoints"]}

    def gates(self, address, intent):
        """Until both gates of west do as they are told."""
        for name in ("west-1", "west-2"):
            wait_until(f"{name}: {address} is {intent}", lambda n=name: self.endpoints(n)[address] == intent, PATIENCE_S)


def test_an_instance(stage):
    """Drained under load: what is under way ends, nothing new arrives, no request fails; then it comes back."""
    p = Parts(stage)
    name = f"west/default/{p.other}"
    load = Load(stage, p.port)
    held, results = [], []

    def is_under_way():
        held.append(threading.Thread(target=lambda: results.append(
            lib.get(p.port, "/profile/slow", timeout=PATIENCE_S).status)))
        held[-1].start()
        return any(r.target == "/profile/slow" for r in p.second.seen)
    wait_until("one is under way there", is_under_way, PATIENCE_S, every=0.1)
    p.operator.expect(2, f"drain {name} --dry-run", says="gets no new requests")
    p.operator.expect(0, f"drain {name} --for 1h --reason patch", says="gets no new requests")
    p.gates(p.other, "drain")
    check_equal(p.endpoints("west-1")[p.first], "serve", "the other instance")
    before = wait_until("what was chosen before has arrived", lambda: (n := len(p.second.seen)) == (
        time.sleep(0.2), len(p.second.seen))[1] and n, PATIENCE_S)
    load.more(300)
    check_equal(p.second.seen[before:], [], "new requests there")
    p.slow.set()
    for t in held:
        t.join(PATIENCE_S)
    check_equal(results, [200] * len(held), "what was under way")
    said = p.realm.authority("north-1")["drained"]
    check_equal([(d["object"], d["kind"], d["reason"], d["configured"]) for d in said],
                [(name, "instance", "patch", True)], "what is said of it")
    check(said[0]["until"] and said[0]["left_ms"] > 0 and "tester" not in said[0]["by"], str(said))
    check_equal(p.realm.authority("north-1")["intents"], [], "of its region")
    p.operator.expect(0, "status", says=name)
    p.operator.expect(0, f"why {name}", says="patch")
    p.operator.expect(0, f"undrain {name} --reason patched", says="again")
    p.gates(p.other, "serve")
    wait_until("it is asked again", lambda: len(p.second.seen) > before + 10, PATIENCE_S)
    load.more()
    load.end()
    check_equal(load.failed, [], f"failed of {load.done} requests")
    p.operator.expect(0, f"undrain {name} --reason again", says="is not drained")
    p.realm.judge()


def test_the_last_instance(stage):
    """Refused while the region holds the right to write, but by an override; allowed elsewhere; names are helped."""
    p = Parts(stage)
    north = f"127.0.0.1:{p.realm.apps['north'].port}"
    for line, code, says in (
            (f"drain west/defalt/{p.other}", 64, "is it `default`"), (f"drain wset/default/{p.other}", 64, "is it `west`"),
            (f"drain west/default/{p.other}0", 64, f"is it `{p.other}`"), ("drain west-3", 64, "is it `west-"),
            (f"drain west/default/{p.other} --percent 50", 64, "drained whole"),
            ("drain owner", 3, "neither a gate nor an edge"), (f"undrain west/default/{p.other}0", 64, "is it")):
        p.operator.expect(code, f"{line} --reason x", says=says)
    p.operator.expect(0, f"drain west/default/{p.other} --reason one")
    done = p.operator.expect(3, f"drain west/default/{p.first} --reason two", says="last-instance")
    check("move CONTEXT --to REGION" in done.stderr, done.what)
    p.operator.expect(3, f"drain north/default/{north} --reason x", says="50/s would be left for profile")
    p.operator.expect(0, f"drain north/default/{north} --reason x --override capacity", says="gets no new requests")
    p.operator.expect(3, f"drain west/default/{p.first} --reason two", says="last-region")
    p.operator.expect(0, f"undrain north/default/{north} --reason x")
    p.operator.expect(3, f"drain west/default/{p.first} --reason two --override capacity", says="last-instance")
    p.second.kill()
    p.operator.expect(0, f"undrain west/default/{p.other} --reason x")
    wait_until("its probes fail", lambda: p.operator.run(
        f"drain west/default/{p.first} --reason two --dry-run").returncode == 3, PATIENCE_S)
    p.operator.expect(0, f"drain west/default/{p.first} --override last-instance --reason two")
    p.gates(p.first, "drain")
    wait_until("the edge leaves west", lambda: lib.get(p.port, "/profile/1").body == b"north", PATIENCE_S)
    p.realm.judge()


def test_most_of_a_large_pool(stage):
    """Of more instances than are looked at for one request all but one are drained: that one is found each time."""
    p = Parts(stage)
    conf = json.loads(p.realm.conf.read_text())
    absent = [f"127.0.0.1:{n}" for n in range(1, 41)]
    conf["regions"]["west"]["apps"] = [p.first, *absent]
    conf["regions"]["west"]["capacity"] = conf["regions"]["north"]["capacity"] = "100/s"
    conf["contexts"]["profile"]["retry"] = {"other-regions": 0}
    p.realm.conf.write_text(json.dumps(conf))
    processes = {**{n: p.realm.processes[n] for n in ("west-1", "west-2", "north-1", "east-1")}, "edge-1": p.edge}
    for name, process in processes.items():
        process.signal(signal.SIGHUP)
        wait_until(f"{name} has loaded it", lambda q=process: '"event":"reloaded"' in q.output())
    for address in absent:
        wait_until(f"{address} is drained", lambda a=address: p.realm.ask("west-1", "POST", "/ops/drain", {
            "reason": "x", "by": "x", "instance": f"west/default/{a}", "override": ["capacity"]})[0] == 200, PATIENCE_S)
    p.gates(absent[-1], "drain")
    gates = [int(p.realm.hosts[name]["gate"].split(":")[1]) for name in ("west-1", "west-2")]
    answers = [p.realm.answer_to(lambda i=i: lib.get(gates[i % 2], "/profile/1")) for i in range(200)]
    check_equal([a.status for a in answers], [200] * 200, "answers")
    p.realm.judge()


def test_a_gate(stage):
    """A gate of two under load: the edge chooses the other one, which takes commands, too; nothing fails."""
    p = Parts(stage)
    gate = {name: p.realm.hosts[name]["gate"] for name in ("west-1", "west-2", "north-1")}
    load = Load(stage, p.port)

    def served(name):
        return sum(c["commands_total"] + c["queries_total"] for c in p.realm.status(name)["contexts"])
    wait_until("both gates are asked", lambda: served("west-1") and served("west-2"), PATIENCE_S)
    p.operator.expect(0, "drain west-2 --reason kernel", says="west-2 gets no new requests")
    wait_until("the edge knows", lambda: p.endpoints("edge-1")[gate["west-2"]] == "drain", PATIENCE_S)
    check_equal(p.endpoints("edge-1")[gate["west-1"]], "serve", "the other gate")
    before = wait_until("what was under way has ended", lambda: (n := served("west-2")) == (
        time.sleep(0.2), served("west-2"))[1] and n, PATIENCE_S)
    load.more(300)
    check_equal(served("west-2"), before, "requests that it has served")
    check("west-2" in [d["object"] for d in p.realm.authority("north-1")["drained"]], "what is said of it")
    done = p.operator.expect(3, "drain west-1 --reason both", says="last-instance")
    check("no gate would take its commands" in done.stderr, done.what)
    p.operator.expect(3, "drain north-1 --reason x", says="50/s would be left for profile")
    p.operator.expect(0, "why west-2", says="kernel")
    p.operator.expect(0, "undrain west-2 --reason booted")
    wait_until("it is asked again", lambda: served("west-2") > before + 10, PATIENCE_S)
    load.end()
    check_equal(load.failed, [], f"failed of {load.done} requests")
    p.realm.judge()


def test_a_gate_with_keys_of_its_own(stage):
    """Where gates stop doubles, what one knows no other does: refused, but by an override."""
    p = Parts(stage, by="gate")
    done = p.operator.expect(3, "drain west-2 --reason x", says="one-gate-a-key")
    check("--override one-gate-a-key" in done.stderr, done.what)
    p.operator.expect(3, "drain west-2 --reason x --override last-instance", says="one-gate-a-key")
    p.operator.expect(0, "drain west-2 --reason x --override one-gate-a-key", says="gets no new requests")
    address = p.realm.hosts["west-2"]["gate"]
    wait_until("the edge knows", lambda: p.endpoints("edge-1")[address] == "drain", PATIENCE_S)

    def command(n):
        return lib.request(p.port, "POST", "/ledger/1", [("Idempotency-Key", f'"{n}-{time.monotonic()}"')], b"x")
    check_equal([p.realm.answer_to(lambda n=n: command(n)).status for n in range(60)], [200] * 60,
                "commands, whichever gate has their key")
    p.realm.judge()


def test_an_edge(stage):
    """An edge is not ready while it is drained, and answers who comes all the same."""
    p = Parts(stage)
    check_equal(lib.get(p.ready, "/ready").status, 200, "before")
    p.operator.expect(0, "drain edge-1 --for 1h --reason x", says="asks `edge.ready`")
    wait_until("it is not ready", lambda: lib.get(p.ready, "/ready").status == 503, PATIENCE_S)
    check_equal(json.loads(lib.get(p.admin["edge-1"], "/status").body)["intent"], "drain", "what it says")
    check_equal(lib.get(p.port, "/profile/1").status, 200, "who comes all the same")
    p.operator.expect(0, "undrain edge-1 --reason x")
    wait_until("it is ready", lambda: lib.get(p.ready, "/ready").status == 200, PATIENCE_S)
    p.realm.judge()


def test_what_a_reload_takes_out(stage):
    """An instance that is drained and then taken out of the file: its intent is dropped, and says so."""
    p = Parts(stage)
    p.operator.expect(0, f"drain west/default/{p.other} --reason gone")
    p.gates(p.other, "drain")
    conf = json.loads(p.realm.conf.read_text())
    conf["regions"]["west"]["apps"] = [p.first]
    p.realm.conf.write_text(json.dumps(conf))
    for name in ("west-1", "west-2", "north-1", "east-1"):
        p.realm.processes[name].signal(signal.SIGHUP)
        wait_until(f"{name} has loaded it", lambda n=name: '"event":"reloaded"' in p.realm.processes[n].output())
    wait_until("it says so", lambda: "intent_dropped" in p.realm.processes["west-1"].output(), PATIENCE_S)
    said = p.realm.authority("west-1")["drained"][0]
    check(not said["configured"] and 0 < said["left_ms"] <= 15 * 60 * 1000, str(said))
    p.operator.expect(0, f"undrain west/default/{p.other} --reason x")
    wait_until("nothing is left", lambda: not p.realm.authority("west-1")["drained"], PATIENCE_S)
    p.operator.expect(64, f"undrain west/default/{p.other} --reason x", says="has no instance")
    p.realm.judge()


def test_records_are_bounded(stage):
    """What ended gives way to what is new; who was told of it late, or starts again, agrees."""
    instances = [f"127.0.0.1:{n}" for n in range(1, 101)]
    realm = Realm(stage, failover={"mode": "manual"})
    conf = json.loads(realm.conf.read_text())
    for name, region in conf["regions"].items():
        if "apps" in region:
            region["apps"] = {"default": region["apps"], "many": instances}
            region["capacity"] = "100/s"
    realm.conf.write_text(json.dumps(conf))
    realm.begin()

    def order(at, what, address):
        body = {"instance": f"west/many/{address}"}
        wait_until(f"{what} {address}", lambda: realm.ask(at, "POST", f"/ops/{what}", {
            "reason": "x", "by": "x", **body})[0] == 200, PATIENCE_S)

    def records():
        with sqlite3.connect(f"{stage.dir}/c.db") as db:
            return sorted(k for k, in db.execute("select key from kv") if b"intent/" in bytes(k))
    for i, address in enumerate(instances):
        order(("west-1", "north-1")[i % 2], "drain", address)
        if i >= 20:
            order(("north-1", "west-1")[i // 2 % 2], "undrain", address)

    def drained(name):
        return sorted(d["object"] for d in realm.authority(name)["drained"])
    wanted = sorted(f"west/many/{a}" for a in instances[:20])
    for name in ("west-1", "north-1"):
        wait_until(f"{name} agrees", lambda n=name: drained(n) == wanted, PATIENCE_S)
    generation = realm.authority("north-1")["generation"]
    realm.kill("west-1")
    realm.start("west-1")
    wait_until("who starts again agrees", lambda: drained("west-1") == wanted, PATIENCE_S)
    check(realm.authority("west-1")["generation"] >= generation, "the generation went back")
    realm.judge()
    realm.kill("owner")
    check(20 <= len(records()) <= 66, f"{len(records())} records")


if __name__ == "__main__":
    lib.main(globals())
