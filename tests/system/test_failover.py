#!/usr/bin/env python3
"""Regions that die, freeze, fail and lie under live traffic, in front of an edge.

What may be repeated never fails; what may not is executed at most once, and is called unknown where
nobody can say whether it was."""

import collections
import signal
import sys
import threading

import lib
import world
from lib import check, check_equal, wait_until
from world import evidence

CALM_S, OUTAGE_S, TAIL_S = 0.5, 1.0, 1.2
PROBE = {"app": "/health", "interval": "200ms"}
# long enough for a busy machine: only what is frozen runs into them
TIMEOUTS = {"connect": "1s", "first-byte": "3s", "total": "15s"}


# -------- two regions with an app each --------


class Pair:
    """Two regions of one app each, west first, behind an edge, with agents or without."""

    def __init__(self, stage, agents):
        store = stage.path("store")
        self.west, self.north = (world.App(stage, n, store=store) for n in ("west", "north"))
        apps = {"west": self.west, "north": self.north}
        regions = {n: world.region(i, [a.port]) for i, (n, a) in enumerate(apps.items(), 1)}
        self.edge = world.Edge(stage, regions, start=False, probe=PROBE, timeouts=TIMEOUTS)
        self.agents = {}  # their processes by host
        self.gates = {}   # the agents themselves by region
        if not agents:
            self.edge.start()
            return
        for name, app in apps.items():
            check_app = {"http": f"http://127.0.0.1:{app.port}/health", "interval": "100ms"}
            regions[name]["checks"] = {"app": check_app}
        self.edge.conf["contexts"] = {"all": {**world.KEYED, "needs": ["app"]}}
        self.gates = {n: world.Agent(stage, n) for n in apps}
        world.start_behind_agents(self.edge, list(self.gates.values()), self._start)

    def _start(self, agent):
        self.agents[agent.host] = agent.start(self.edge.path)

    def west_agent(self, signo):
        if self.agents:
            self.agents["west-1"].signal(signo)

    def kill(self):
        if self.agents:
            self.agents["west-1"].kill()
        self.west.kill()

    def restart(self):
        self.west.start()
        if self.agents:
            self._start(self.gates["west"])

    def freeze(self):
        self.west_agent(signal.SIGSTOP)
        self.west.freeze()

    def wake(self):
        self.west.wake()
        self.west_agent(signal.SIGCONT)

    def stood_still(self, regions):
        """Was a gate of these without a processor for so long that it hung up on everybody, as it should?"""
        return any(lib.get(self.gates[r].admin, "/status").json()["totals"]["frozen_total"]
                   for r in regions if r in self.gates)


FAULTS = {  # how it begins, how it ends, and how a command without a key may fail
    "kill": (Pair.kill, Pair.restart, {"504"}),
    "freeze": (Pair.freeze, Pair.wake, {"504"}),
    "errors": (lambda p: p.west.mode("both"), lambda p: p.west.mode("ok"), {"503"}),
    "grey": (lambda p: p.west.mode("traffic"), lambda p: p.west.mode("ok"), {"503"}),
}


def came_back(pair):
    """Traffic returns to west, and costs no request."""
    def served():
        answer = pair.edge.get("/return")
        check_equal(answer.status, 200, "answer while west returns")
        return answer.header("fulmar-region") == "west"

    wait_until("west serves again", served, seconds=90, every=0.02)


class Unserved(lib.Failure):
    """Requests failed that should not."""


def outage(stage, fault, agents):
    """One fault under three kinds of load at once; west is healed before they end. On a machine where a gate
    stood still meanwhile there was another fault: it is done again, unless more went wrong than that."""
    for last in (False, False, True):
        part = lib.Stage(fault)
        stage.on_end(lambda part=part: part.close(report=False))
        pair = Pair(part, agents)
        try:
            one_outage(part, pair, fault, agents)
            return part.settle()
        except Exception as failure:
            others = ["north"] if fault == "freeze" else ["north", "west"]
            if last or not isinstance(failure, Unserved) or not pair.stood_still(others):
                part.close(report=True)
                raise
            print(f"again: {failure}", file=sys.stderr)
            part.close(report=False)


def one_outage(stage, pair, fault, agents):
    strike, heal, allowed = FAULTS[fault]
    seconds = CALM_S + OUTAGE_S + TAIL_S
    get, keyed, bare = (world.Load(stage, pair.edge.port, seconds, *kind) for kind in (
        ("get",), ("keyed", world.RATE, "POST", True), ("bare", world.RATE, "POST")))
    world.sleep(CALM_S)
    strike(pair)
    world.sleep(OUTAGE_S)
    heal(pair)
    failed = [load.wait() for load in (get, keyed, bare)]
    unserved = None
    try:
        check_equal(failed[:2], [{}, {}], "failed requests of the loads get and keyed")
        check(set(failed[2]) <= allowed, f"commands without a key failed with {failed[2]}")
        came_back(pair)
    except lib.Failure as failure:
        unserved = failure

    west, north = pair.west.lines(), pair.north.lines()
    seen = get.requests()
    check(any(line.id in seen for line in north), "north had nothing to do: this was no outage")
    moments = evidence.Moments(0, 0, frozen=False, dead=True)
    for load in (get, keyed, bare):
        did = evidence.figures(load.requests(), west, north, moments, agents)
        check_equal(did.unaccounted, 0, f"{load.name}: successes that nobody executed")
        check_equal(did.applied_twice, 0, f"{load.name}: effects that happened twice")
        if load is bare:
            check_equal(did.executed_twice, 0, "commands without a key that were executed twice")
    if unserved:
        raise Unserved(str(unserved))


def test_kill_direct(stage):
    """A region is killed and restarted, the edge goes straight to the apps."""
    outage(stage, "kill", agents=False)


def test_kill_agents(stage):
    """The same with its agent."""
    outage(stage, "kill", agents=True)


def test_freeze_direct(stage):
    """A region is stopped and wakes, the edge goes straight to the apps."""
    outage(stage, "freeze", agents=False)


def test_freeze_agents(stage):
    """The same with its agent."""
    outage(stage, "freeze", agents=True)


def test_errors_direct(stage):
    """A region answers 503 to everything."""
    outage(stage, "errors", agents=False)


def test_errors_agents(stage):
    """The same behind its agent."""
    outage(stage, "errors", agents=True)


def test_grey_direct(stage):
    """A region says that it is well and answers 503 to traffic."""
    outage(stage, "grey", agents=False)


def test_grey_agents(stage):
    """The same behind its agent."""
    outage(stage, "grey", agents=True)


def test_grey_stays_away(stage):
    """Passing probes alone do not bring a grey region back: it gets canaries, and few of them."""
    pair = Pair(stage, agents=False)
    pair.west.mode("traffic")
    load = world.Load(stage, pair.edge.port, 2.5)
    wait_until("west is down", lambda: pair.edge.slot("west")["health"] == "down")
    before = pair.edge.slot("west")["sent_total"]
    load.wait_all_served()
    after = pair.edge.slot("west")["sent_total"]
    check(after - before <= 10, f"{after - before:g} requests went to a region that is down")
    pair.west.mode("ok")
    came_back(pair)


# -------- instances --------


def test_one_instance_dies(stage):
    """One of two instances of a region is killed and restarted: nobody notices, the region stays."""
    store = stage.path("store")
    west, other, north = (world.App(stage, n, store=store) for n in ("west", "other", "north"))
    edge = world.Edge(stage, {"west": [west.port, other.port], "north": [north.port]},
                      probe=PROBE, timeouts=TIMEOUTS)
    get = world.Load(stage, edge.port, 3)
    keyed = world.Load(stage, edge.port, 3, "keyed", method="POST", keys=True)
    world.sleep(CALM_S)
    other.kill()
    world.sleep(OUTAGE_S)
    other.start()
    get.wait_all_served()
    keyed.wait_all_served()
    bad = [e for e in edge.events() if e[3] in ("unreachable", "failures", "failure-ratio")]
    check_equal(bad, [], "what was held against a region whose other instance was well")
    before = len(other.lines())
    wait_until("the instance serves again", lambda: edge.get().status == 200
               and len(other.lines()) > before, seconds=60)


def test_instance_dies_at_full_load(stage):
    """The same with as many requests in flight as the edge can bear: more than its retry budget die
    with the instance, and yet none fails."""
    apps = [world.App(stage, name, fast=True) for name in ("west", "other", "north")]
    edge = world.Edge(stage, {"west": [a.port for a in apps[:2]], "north": [apps[2].port]},
                      probe=PROBE, timeouts=TIMEOUTS)
    load = world.Load(stage, edge.port, 3, rate=0)
    while load.is_running():
        for app in apps[:2]:
            world.sleep(0.2)
            app.kill()
            world.sleep(0.1)
            app.start()
    load.wait_all_served()


# -------- outcomes that nobody knows --------


def test_unknown_is_called_unknown(stage):
    """An app takes a request and hangs up: a command without a key is told so and not repeated."""
    def hang_up(exchange):
        exchange.body()
        exchange.over = True

    west, north = world.Origin(stage, hang_up, "west"), world.Origin(stage, name="north")
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"app": "none"})
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = lib.request(edge.port, method, f"/{method}", body=b"x")
        if answer.header("fulmar-region") == "north":
            break  # west was left by now
        check_equal(answer.status, 504, f"answer to {method}")
        check_equal(answer.json()["type"], "urn:fulmar:outcome-unknown", "problem")
        ref = answer.header("fulmar-ref")
        check(ref and answer.json()["instance"] == f"urn:fulmar:ref:{ref}", f"Fulmar-Ref: {ref}")
    asked = collections.Counter(west.seen + north.seen)
    check("POST /POST" in asked, f"west was asked {west.seen}")
    check_equal([r for r, n in asked.items() if n > 1], [], "requests that were repeated")


def test_known_is_repeated(stage):
    """The same with a key, or for a query: it is repeated elsewhere and succeeds."""
    def hang_up(exchange):
        exchange.body()
        exchange.over = True

    west, north = world.Origin(stage, hang_up, "west"), world.Origin(stage, name="north")
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"app": "none"})
    for i in range(20):
        keyed = lib.request(edge.port, "POST", f"/{i}", [("Idempotency-Key", f"k{i}")], b"x")
        check_equal((keyed.status, keyed.json()["origin"]), (200, "north"), "with a key")
        check_equal(keyed.json()["bytes"], 1, "bytes of the body that was sent again")
        got = edge.get(f"/{i}")
        check_equal((got.status, got.json()["origin"]), (200, "north"), "GET")
    check(len(west.seen) > 0, "west was never asked")


# -------- the bank --------


CONTEXTS = {"catalog": "/catalog", "ledger": "/ledger/a", "profile": "/profile/a"}


def freeze_card(bank, number):
    return lib.request(bank.edge.port, "POST", f"/cards/c{number}/freeze",
                       [("Idempotency-Key", f"card-{number}")], b"")


def test_partial_failure_moves_one_context(stage):
    """The card network of west dies: cards move to north, everything else stays in west."""
    bank = world.Bank(stage)
    load = world.Load(stage, bank.edge.port, 3, path="/catalog")
    cards = world.Load(stage, bank.edge.port, 3, "cards", 100, "POST", True, "/cards/c/freeze")
    world.sleep(CALM_S)
    bank.west.kill("network")
    wait_until("cards leave west", lambda: bank.edge.slot("west", "cards")["health"] == "down")
    check_equal(freeze_card(bank, 1).header("fulmar-region"), "north", "region of cards")
    for context, path in CONTEXTS.items():
        wait_until(f"west serves {context}",  # it may be busy for a moment
                   lambda path=path: bank.edge.get(path).header("fulmar-region") == "west")
    load.wait_all_served()
    cards.wait_all_served()
    for region, context, to, reason in bank.edge.events():
        blamed = to == "down" and reason not in ("silent", "pauses")  # a busy machine, no more
        check(not blamed or (region, context) == ("west", "cards"), f"{region}/{context}: {reason}")
    bank.west.start(bank.edge.path)
    number = iter(range(2, 100000))
    wait_until("cards return to west", lambda: freeze_card(bank, next(number)).header(
        "fulmar-region") == "west", seconds=60, every=0.02)
    twice = {key: n for key, n in bank.effects().items() if n != 1}
    check_equal(twice, {}, "effects by key that did not happen once")


def answers_well(port):
    try:
        return lib.get(port, "/catalog").status == 200
    except (OSError, lib.Failure):
        return False  # who wakes closes what has waited, also what comes just then


def test_no_zombies(stage):
    """What waited in a frozen region, at its gate and at its app, is not executed when it wakes."""
    bank = world.Bank(stage)
    answers = {}

    def put(number):
        answer = lib.request(bank.edge.port, "PUT", f"/profile/p{number}", body=b"", timeout=60)
        answers[number] = answer.status

    def put_many(first):
        threads = [threading.Thread(target=put, args=(n,)) for n in range(first, first + 12)]
        for thread in threads:
            thread.start()
        return threads

    def stored():
        def text(n):
            return lib.get(bank.store, f"/read?kind=profile&id=p{n}").json()["text"]
        return {n for n in range(24) if text(n)}

    apps = ("app-1", "app-2")
    bank.west.freeze(*apps)
    waiting = put_many(0)  # these get as far as the apps' sockets
    before = bank.edge.slot("west", "profile")["sent_total"]
    wait_until("the apps are asked", lambda: bank.edge.slot("west", "profile")["sent_total"] > before
               or not any(t.is_alive() for t in waiting))
    bank.west.freeze("agent")
    waiting += put_many(12)  # and these, if west is not left by then, to the gate's
    for thread in waiting:
        thread.join()
    check_equal(sorted(answers), list(range(24)), "requests answered")
    failed = {n for n, status in answers.items() if status != 200}
    check(failed, "nothing waited in west")
    check_equal({answers[n] for n in failed}, {504}, "how they failed")
    asleep = stored()
    bank.west.signal(signal.SIGCONT)
    for port in (bank.west.apps[0][0], bank.west.apps[1][0], bank.west.agent.gate):
        wait_until(f"{port} is awake", lambda port=port: answers_well(port))
    check_equal(stored() - asleep, set(), "zombies")
    check_equal({n for n, status in answers.items() if status == 200} - asleep, set(),
                "successes that are not in the store")


# -------- nobody is well --------


def test_all_down_fails_open(stage):
    """Where no region is well requests still go somewhere; metrics, log and status say so."""
    west, north = world.App(stage, "west"), world.App(stage, "north")
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe=PROBE)
    check_equal(edge.get().status, 200, "answer before")
    west.kill()
    north.kill()
    wait_until("no region is well", lambda: edge.status()["contexts"][0]["fail_open"])
    open_before = edge.metric("fail_open_total")
    answer = edge.get()
    check_equal((answer.status, answer.json()["type"]), (503, "urn:fulmar:unreachable"), "answer")
    check(answer.header("retry-after"), "503 without Retry-After")
    check(edge.metric("fail_open_total") > open_before, "fail_open_total stands still")
    check_equal(edge.metric("health_share_permille", region="west", context="all"), 0, "share of west")
    wait_until("the log says so", lambda: edge.log("fail_open"))

    west.start()
    north.start()
    west.mode("health")  # the probes say no, but it answers
    north.mode("health")
    wait_until("it is answered although no probe succeeds", lambda: edge.get().status == 200, 30)
    check(edge.status()["contexts"][0]["fail_open"], "a region counts as well whose probes fail")
    west.mode("ok")
    wait_until("a region is well", lambda: edge.get().status == 200
               and not edge.status()["contexts"][0]["fail_open"], seconds=90)
    wait_until("the log says so", lambda: edge.log("fail_open_over"))


if __name__ == "__main__":
    lib.main(globals())
