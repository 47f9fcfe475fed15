#!/usr/bin/env python3
"""`when-away: {commands: queue}` with real processes on one machine: the holder dies, commands get 202 and a place
to ask, and when authority is back each of them is delivered, in order per key, and none is executed twice.

The application is this test: it writes down what it executes, with its key."""

import collections
import json
import re
import threading
import time

import lib
import servers
from lib import check, check_equal, wait_until
from fronted import Fronted
from test_authority import PATIENCE_S

HOLD = "300ms"
ACCOUNTS = ("alice", "bob", "carol", "dave")
AT_ONCE = len(ACCOUNTS) + 1  # deliveries: one of each account, and of erin's


class Applications:
    """What the applications of all regions executed: [(region, key or None, path, body, authority)]. With
    `stops_doubles` a key is executed once, in whatever region."""

    def __init__(self):
        self.executed, self.asked, self.lock = [], collections.Counter(), threading.Lock()
        self.stops_doubles, self.delay_s = False, 0.0
        self.told = {}

    def answer(self, region, request):
        if request.method != "POST":
            return servers.reply(200, region.encode())
        key = request.header("idempotency-key")
        if self.delay_s:
            time.sleep(self.delay_s)
        with self.lock:
            self.asked[key] += 1
            self.told[key] = dict(request.headers)
            if not (self.stops_doubles and self.asked[key] > 1):
                self.executed.append((region, key, request.target, request.body.decode(),
                                      (request.header("fulmar-authority") or "").strip()))
        return servers.reply(201, f"done by {region}".encode())

    def keys(self, path=None):
        with self.lock:
            return [key for _, key, target, _, _ in self.executed if path in (None, target)]

    def twice(self):
        return [key for key, n in collections.Counter(self.keys()).items() if key and n > 1]


class Site(Fronted):
    """Two regions and a witness, an edge in front, one context; its accounts are the keys of the order."""

    def __init__(self, stage, by="gate", topology=None, hold=HOLD, tls=False, **failover):
        context = {"topology": "active-passive", "home": "west", "routes": ["/{account}/**"],
                   "key": {"path": "account"}, "idempotency": {"key": "optional", "by": by},
                   "when-away": {"hold": hold, "commands": "queue"}, **(topology or {})}
        super().__init__(stage, context, tls, failover)
        self.apps_did = Applications()
        for region, server in self.apps.items():
            server.answer = lambda request, r=region: self.apps_did.answer(r, request)

    def begin(self):
        super().begin()
        self.start_edge("/probe/pay")
        return self

    def pay(self, account, body, key=None, **options):
        return self.post(f"/{account}/pay", body, key, **options)

    def keep(self, account, key, body="x"):
        """A command that is queued; its place."""
        answer = self.pay(account, body, key)
        check_equal(answer.status, 202, f"status of {key} ({answer.body[:200]})")
        doc = answer.json()
        check_equal((doc["schema"], doc["location"]), ("fulmar.queue/1", answer.header("location")), f"answer to {key}")
        check(answer.header("fulmar-queued") is None, "what gates say to each other came out")
        return answer.header("location")

    def keep_all(self, accounts=ACCOUNTS, each=5, prefix=""):
        """Each account's in order, accounts side by side; {key: place}."""
        places, failed = {}, []

        def one(account):
            try:
                for i in range(each):
                    key = f"{prefix}{account}-{i:04}"
                    places[key] = self.keep(account, key)
            except Exception as failure:
                failed.append(failure)
        threads = [threading.Thread(target=one, args=(a,)) for a in accounts]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(not failed, f"{failed[:1]}")
        return places

    def place(self, location):
        answer = self.answer_to(lambda: lib.get(self.port, location, timeout=30))
        check_equal(answer.status, 200, f"status of the place {location}")
        return answer.json()

    def queue(self, name="north-1"):
        return (self.status(name) or {}).get("queue") or {}

    def wait_for_delivery(self, name="north-1", seconds=PATIENCE_S):
        wait_until(f"all of {name}'s queue is delivered", lambda: self.queue(name).get("waiting") == 0, seconds,
                   every=0.02)

    def without(self, region):
        """It dies as a whole, and the edge has seen it."""
        self.kill(*self.agents(region))

    def check_order(self, accounts=ACCOUNTS, each=5, prefix="", gaps=()):
        """All are executed, in order; those among `gaps` may be missing."""
        for account in accounts:
            all_ = [f"{prefix}{account}-{i:04}" for i in range(each)]
            got = [k for k in self.apps_did.keys(f"/{account}/pay") if k in all_]
            wanted = [k for k in all_ if k in got or k not in gaps]
            check_equal(got, wanted, f"what was executed of {account}, in order")
        check_equal(self.apps_did.twice(), [], "keys that were executed twice")

    def check_places(self, places, status=201):
        """All are delivered, but those that were under way as the machine was too slow: nobody knows how they ended.
        Their keys."""
        docs = {key: self.place(location) for key, location in places.items()}
        unknown = {key for key, doc in docs.items() if doc["state"] == "unknown"}
        check(len(unknown) <= AT_ONCE * self.stalls_of(*self.processes), f"unknown: {sorted(unknown)}")
        for key in docs.keys() - unknown:
            check_equal((docs[key]["state"], docs[key]["status"]), ("delivered", status), f"state of {key}")
        return unknown


def wait_and_deliver(stage, tls):
    site = Site(stage, tls=tls).begin()
    known = site.pay("alice", "before", "known")
    check_equal(known.status, 201, "a command while the holder is there")

    def answer_is_known():  # the intent goes ahead of it
        entries = json.loads(site.command("journal", "list", "--host", "north-1", "-o", "json"))["entries"]
        return ["done"] == [e["state"] for e in entries if e["key"] == "known"]

    wait_until("the other region knows how it ended", answer_is_known, PATIENCE_S, every=0.1)
    site.without("west")
    places = site.keep_all()
    again = site.keep("alice", "alice-0000")
    check_equal(again, places["alice-0000"], "place of the same key")
    check_equal(site.pay("alice", "another", "alice-0000").status, 422, "the same key for another request")
    repeat = site.pay("alice", "before", "known")
    check_equal((repeat.status, repeat.body), (201, known.body), "a repeat of what was executed before")
    places["none"] = site.keep("erin", None, "without a key")
    check_equal(site.place(again)["state"], "waiting", "state of what waits")
    wait_until("the agent counts them", lambda: site.queue().get("waiting") == len(places), PATIENCE_S)
    check(site.queue()["oldest_at"], "since when is not said")
    listed = json.loads(site.command("journal", "list", "--host", "north-1", "--state", "queued", "-o", "json"))
    check_equal({e["key"] for e in listed["entries"]} - {k for k in places if k != "none"},
                {e["key"] for e in listed["entries"] if e["key"].startswith("queue:")}, "what is listed")
    check_equal(len(listed["entries"]), len(places), "how much is listed")
    admin = int(site.hosts["north-1"]["admin"].split(":")[1])
    have = dict(re.findall(r"^(fulmar_\w+) (\d+)$", lib.get(admin, "/metrics").body.decode(), re.M))
    named = set(re.findall(r"`(fulmar_agent_queue_\w+)", (lib.ROOT / "docs" / "operations.md").read_text()))
    check(named and named <= have.keys(), f"not in /metrics: {named - have.keys()}")
    check_equal(int(have["fulmar_agent_queue_waiting"]), len(places), "metric of what waits")
    check_equal(int(have["fulmar_gate_commands_queued_total"]), len(places), "metric of what was queued")
    guess = again[:-1] + ("0" if again[-1] != "0" else "1")
    check_equal(lib.get(site.port, guess).status, 404, "status of a place that was guessed")
    check_equal(lib.get(site.port, "/.well-known/fulmar/other").status, 404, "status of a path that is reserved")
    site.kill("north-1")  # what waits outlives it
    site.start("north-1")
    site.start("west-1")
    site.wait_for("ledger", "west")
    site.wait_for_delivery()
    unknown = site.check_places(places)
    site.check_order(gaps=unknown)
    bodies = [body for _, _, path, body, _ in site.apps_did.executed if path == "/erin/pay"]
    check(bodies == ["without a key"] or (not bodies and "none" in unknown), f"the one without a key: {bodies}")
    check_equal({region for region, *_ in site.apps_did.executed}, {"west"}, "who executed")
    key = next(k for k in places if k != "none" and k not in unknown)
    headers = site.apps_did.told[key]
    check("fulmar-queued" not in headers and headers["fulmar-mode"] == "normal", f"what the application saw: {headers}")
    again = site.pay(key.partition("-")[0], "x", key)
    check_equal((again.status, again.body), (201, b"done by west"), "a repeat after the delivery")
    site.judge()


def test_waits_for_its_holder(stage):
    """The holder dies, commands are queued, it comes back: all are delivered to it, in order, none twice."""
    wait_and_deliver(stage, tls=False)


def test_waits_for_its_holder_behind_tls(stage):
    """The same where hosts speak TLS with each other."""
    wait_and_deliver(stage, tls=True)


def force(site, to):
    """A person takes the right to write from the region that is lost."""
    name = site.agents(to)[0]

    def taken():
        quote = site.order(name, "quote", context="ledger", to=to)
        if "quote" not in quote:
            return False
        op = site.order(name, "failover", context="ledger", to=to, quote=quote["quote"], confirm="ledger")
        end = time.monotonic() + PATIENCE_S
        while "id" in op and time.monotonic() < end:
            state = site.op(name, op["id"]).get("state")
            if state in ("done", "refused", "failed", "partial"):
                return state == "done"
            time.sleep(0.05)
        return False
    wait_until(f"{to} takes over", taken, PATIENCE_S, every=0.3)


def test_goes_to_who_takes_over(stage):
    """The holder is lost, and a person lets the region with the queue take over: it delivers to itself."""
    site = Site(stage).begin()
    site.without("west")
    places = site.keep_all(each=4)
    force(site, "north")
    site.wait_for("ledger", "north")
    site.wait_for_delivery()
    unknown = site.check_places(places)
    site.check_order(each=4, gaps=unknown)
    done = [(region, authority) for region, key, _, _, authority in site.apps_did.executed if key in places]
    check_equal(set(done), {("north", "ledger/0@2")}, "who executed, and under which epoch")
    key = next(k for k in places if k not in unknown)
    answer = site.pay(key.partition("-")[0], "x", key)
    check_equal((answer.status, answer.body), (201, b"done by north"), "a repeat after the delivery")
    site.judge()


def test_a_move_in_the_midst_loses_nothing(stage):
    """While a long queue is delivered, authority is moved there and back: all of it once, nothing unknown."""
    site = Site(stage).begin()
    site.without("west")
    places = site.keep_all(each=40)
    site.apps_did.delay_s = 0.01
    site.start("west-1")
    site.wait_for("ledger", "west")
    wait_until("some are delivered", lambda: len(site.apps_did.keys()) > 20, PATIENCE_S)
    for to in ("north", "west"):
        def moved(to=to):
            op = site.order("north-1", "move", context="ledger", to=to)
            return op.get("id") and site.wait_for_op("north-1", op["id"], "done", 10)
        wait_until(f"moved to {to}", moved, PATIENCE_S, every=0.5)
    site.wait_for_delivery()
    unknown = site.check_places(places)
    site.check_order(each=40, gaps=unknown)
    check_equal(site.queue()["unknown"], len(unknown), "deliveries of unknown outcome")
    site.judge()


def killed_in_the_midst(stage, by, kills=5):
    site = Site(stage, by=by).begin()
    site.apps_did.stops_doubles = by == "app"
    site.without("west")
    places = site.keep_all(each=50)
    site.apps_did.delay_s = 0.005
    site.start("west-1")
    for i in range(kills):
        name = ("north-1", "west-1")[i % 2]
        before = len(site.apps_did.keys())
        wait_until("some are delivered", lambda b=before: len(site.apps_did.keys()) > b + 5, PATIENCE_S)
        site.kill(name)
        site.start(name)
    site.wait_for_delivery()
    states = collections.Counter(site.place(location)["state"] for location in places.values())
    print(f"# by {by}: {dict(states)}, {sum(n > 1 for n in site.apps_did.asked.values())} keys asked about twice",
          flush=True)
    site.judge()
    return site, places, states


def test_kills_in_the_midst_by_gate(stage):
    """Deliverer and holder are killed in turn: nothing is executed twice, and what nobody knows is called unknown."""
    site, places, states = killed_in_the_midst(stage, "gate")
    check_equal(set(states) - {"delivered", "unknown"}, set(), "states")
    stalls = site.stalls_of(*site.processes)
    check(states["unknown"] <= 4 * (5 + stalls), f"{states['unknown']} are unknown after five kills of four at once")
    site.check_order(each=50, gaps=places)
    executed = set(site.apps_did.keys())
    for key, location in places.items():
        if site.place(location)["state"] == "delivered":
            check(key in executed, f"{key} is called delivered, and was not executed")


def test_kills_in_the_midst_by_app(stage):
    """The same where applications stop doubles: everything is executed, exactly once."""
    site, _, states = killed_in_the_midst(stage, "app")
    check_equal(states, {"delivered": 200}, "states")
    site.check_order(each=50)


if __name__ == "__main__":
    lib.main(globals())
