#!/usr/bin/env python3
"""What hosts agree upon, with real processes: whatever their files say, agents go by one version, which is kept
across restarts and changed by one order."""

import collections
import json
import signal
import subprocess
import threading

import lib
from lib import FULMAR, check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm, host

LEDGER = "contexts.ledger"


class Agreeing(Realm):
    """A realm in which each host may have a file of its own."""

    def __init__(self, stage, **more):
        super().__init__(stage, **more)
        self.files = {}

    def start(self, *names):
        for name in names or self.hosts:
            port = int(self.hosts[name]["admin"].split(":")[1])
            conf = self.files.get(name, self.conf)
            self.processes[name] = self.stage.fulmar(name, "agent", "-c", conf, "--host", name, port=port)

    def write(self, name, change):
        """The common file with a change, as a file of this name."""
        conf = json.loads(self.conf.read_text())
        change(conf)
        return self.stage.write(f"{name}.yaml", json.dumps(conf))

    def shared(self, name):
        return ((self.status(name) or {}).get("config") or {}).get("shared") or {}

    def generation(self, name):
        return (self.shared(name).get("agreed") or {}).get("generation", 0)

    def wait_for_generation(self, generation, *names):
        for name in names or [n for n in self.processes if n != "owner"]:
            wait_until(f"{name} goes by generation {generation}",
                       lambda n=name: self.shared(n).get("used_generation") == generation, PATIENCE_S)

    def run(self, *arguments, at="west-1"):
        p = subprocess.run([FULMAR, *arguments, "--host", at], capture_output=True, text=True, timeout=60,
                           stdin=subprocess.DEVNULL)
        return p

    def diff(self, conf, at="west-1"):
        p = self.run("config", "diff", "-c", conf, "-o", "json", at=at)
        check(p.returncode in (0, 2), f"config diff: {p.returncode}: {p.stderr}")
        doc = json.loads(p.stdout)
        check_equal(doc["differs"], p.returncode == 2, "differs, and the exit code")
        return doc

    def apply(self, conf, *more, at="west-1"):
        return self.run("config", "apply", "-c", conf, "--reason", "a test", *more, at=at)

    def lease_ms(self, name, context="ledger"):
        """L of the lease that this agent's region holds, as it is recorded."""
        view = self.ask(name, "GET", "/lease/" + context)[1] or {}
        return view.get("lease_ms")

    def events(self, name, event):
        return [e for e in map(json.loads, filter(lambda line: line.startswith("{"),
                                                  self.processes[name].output().splitlines()))
                if e["event"] == event]


def lease(text):
    def change(conf):
        for c in conf["contexts"].values():
            c["lease"] = text
    return change


def home(region):
    def change(conf):
        conf["contexts"]["ledger"]["home"] = region
    return change


def test_two_files_and_one_agreement(stage):
    """Agents whose files have different leases act on the one that was agreed, and say so; the diff names the key;
    one order makes all of them agree upon another, under load, and nothing is refused meanwhile."""
    realm = Agreeing(stage)
    other = realm.write("other", lease("3s"))
    realm.files["north-1"] = other
    realm.start("owner", "west-1")  # it founds
    realm.wait_for_generation(1, "west-1")
    realm.start("north-1", "east-1")
    realm.wait_for_generation(1)
    realm.watcher.start()
    realm.stage.on_end(realm.end_watching)
    realm.wait_for("ledger", "west")
    check_equal(len(realm.events("north-1", "config_differs")), 1, "events of the host that differs")
    check_equal(realm.events("west-1", "config_differs"), [], "events of the one that does not")
    check_equal((realm.shared("north-1")["differs"], realm.shared("west-1")["differs"]), (True, False), "differs")
    check_equal(realm.lease_ms("north-1"), 2000, "what north goes by")
    same, differs = realm.diff(realm.conf, "north-1"), realm.diff(other, "west-1")
    check_equal((same["keys"], same["generation"]), ([], 1), "the diff of the first file")
    check_equal(differs["keys"], [{"key": f"{LEDGER}.lease", "file": "3s", "agreed": "2s"}], "of the other")
    again = realm.run("config", "diff", "-c", str(other))
    check(again.returncode == 2 and f"{LEDGER}.lease" in again.stdout and "3s" in again.stdout, again.stdout)
    shown = realm.run("status", "-c", str(other), at="north-1")
    check("its file differs from what hosts agree upon (generation 1, by west-1)" in shown.stdout, shown.stdout)
    # a reload of what differs changes nothing, and is not told again
    realm.processes["north-1"].signal(signal.SIGHUP)
    wait_until("it is reloaded", lambda: realm.events("north-1", "reloaded"))
    check_equal(len(realm.events("north-1", "config_differs")), 1, "events after a reload")
    check_equal(realm.lease_ms("north-1"), 2000, "what north goes by after it")
    # the plan, and the order
    plan = realm.run("config", "apply", "-c", str(other), "--dry-run")
    check_equal(plan.returncode, 2, f"exit code of the plan: {plan.stdout}{plan.stderr}")
    check_equal(realm.generation("west-1"), 1, "generation after a plan")
    done = realm.apply(other, at="east-1")
    check_equal(done.returncode, 0, f"exit code: {done.stdout}{done.stderr}")
    realm.wait_for_generation(2)
    for name in ("west-1", "north-1"):
        wait_until(f"{name} goes by it", lambda n=name: realm.lease_ms(n) == 3000)
    check_equal(realm.holders(), {"west": 1}, "holders: nothing was lost, nothing moved")
    check_equal(realm.shared("west-1")["differs"], True, "the first file differs now")
    check_equal(realm.apply(other).returncode, 0, "exit code where it is so already")
    check_equal(realm.generation("west-1"), 2, "generation after that")
    events = [e for e in realm.authority("east-1")["events"] if e["what"] == "config"]
    check(len(events) == 2 and "generation 2" in events[-1]["evidence"], f"events: {events}")

    def is_known():
        op = realm.ask("north-1", "GET", "/ops")[1]["operations"][-1]
        return (op["kind"], op["state"], op["reason"]) == ("config", "done", "a test")
    wait_until("another agent knows the operation", is_known)
    realm.judge()


def test_it_is_kept_across_restarts_without_coordination(stage):
    """An agent that starts while coordination is down goes by what was agreed, not by its file."""
    realm = Agreeing(stage).begin()
    realm.wait_for_generation(1)
    applied = realm.write("applied", lease("3s"))
    check_equal(realm.apply(applied).returncode, 0, "exit code of apply")
    realm.wait_for_generation(2)
    wait_until("it is on the disk", lambda: json.loads((stage.path("north-1") / "agreed.json").read_text())
               ["generation"] == 2)
    realm.kill("owner", "north-1")
    realm.start("north-1")  # its file says 2s
    realm.wait_for_generation(2, "north-1")
    wait_until("it goes by it", lambda: realm.lease_ms("north-1") == 3000)
    check_equal(len(realm.events("north-1", "config_differs")), 2, "events, one of each life")
    realm.start("owner")
    realm.wait_for("ledger", "west")
    check_equal(realm.generation("north-1"), 2, "generation when coordination is back")
    # a file that is damaged is not gone by
    realm.processes["north-1"].stop()
    path = stage.path("north-1") / "agreed.json"
    path.write_text(path.read_text().replace('"3s"', '"4s"'))
    p = subprocess.run([FULMAR, "agent", "-c", realm.conf, "--host", "north-1"], capture_output=True, text=True,
                       timeout=30)
    check_equal(p.returncode, 78, f"exit code with a damaged one: {p.stderr[-300:]}")
    check("digest" in p.stderr, p.stderr[-300:])
    realm.judge()


def test_of_two_at_once_one_is_done(stage):
    """Two orders that replace the same generation, by two agents: one is done, the other is refused and has changed
    nothing."""
    realm = Agreeing(stage).begin()
    realm.wait_for_generation(1)
    files = [realm.write("a", lease("3s")), realm.write("b", lease("4s"))]
    for round_ in range(1, 4):
        orders = [subprocess.Popen([FULMAR, "config", "apply", "-c", f, "--reason", "two at once", "--host", at,
                                    "--expect-generation", str(round_)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
                  for f, at in zip(files, ("west-1", "north-1"))]
        ends = [p.communicate(timeout=60) + (p.returncode,) for p in orders]
        codes = sorted(e[2] for e in ends)
        check_equal(codes, [0, 3], f"exit codes in round {round_}: {ends}")
        refused = next(e for e in ends if e[2] == 3)
        check("generation" in refused[1], f"the refusal: {refused[1]}")
        realm.wait_for_generation(round_ + 1)
        digests = {realm.shared(n)["agreed"]["digest"] for n in ("west-1", "north-1", "east-1")}
        check_equal(len(digests), 1, "digests that are agreed")
        files = [realm.write("a", lease(f"{3 + 2 * round_}s")), realm.write("b", lease(f"{4 + 2 * round_}s"))]
    realm.judge()


def test_what_is_refused_says_why(stage):
    """Nothing is applied that is fixed for life, that takes away a region that holds, that the file of the agent
    does not know, that replaces another generation, or while an operation is under way."""
    realm = Agreeing(stage, regions={"west": 1, "north": 1, "south": 1, "east": 0}).begin()
    realm.wait_for_generation(1)

    def without(region):
        def change(conf):
            del conf["regions"][region]
            conf["hosts"] = {n: h for n, h in conf["hosts"].items()
                             if h["region"] != region or n == "owner"}
        return change

    def refused(conf, rule, *more, code=3):
        p = realm.apply(conf, *more)
        check_equal(p.returncode, code, f"exit code: {p.stdout}{p.stderr}")
        check(rule in p.stderr, f"not `{rule}` but {p.stderr}")
        check_equal(realm.generation("west-1"), 1, "generation after a refusal")
        return p

    def fewer(conf):
        conf["contexts"]["ledger"].update(topology="affinity", cells=4, key={"path": "k"}, routes=["/ledger/{k}/**"])
        del conf["contexts"]["ledger"]["home"]

    def service(conf):
        conf["service"] = "other"

    refused(realm.write("cells", fewer), "invalid-config")
    refused(realm.write("service", service), "invalid-config")
    refused(realm.write("more", lambda c: c["contexts"].update(
        cards={**c["contexts"]["ledger"], "routes": ["/cards/**"]})), "invalid-config")
    refused(realm.write("overtaken", lease("3s")), "generation", "--expect-generation", "7")
    broken = stage.write("broken.yaml", "fulmar: 1\nservice: bank\n")
    refused(broken, "config check", code=78)
    check_equal(realm.run("config", "apply", "-c", str(broken)).returncode, 78, "exit code of a broken file")
    no_reason = realm.run("config", "apply", "-c", str(realm.write("x", lease("3s"))))
    check_equal(no_reason.returncode, 64, f"exit code without a reason: {no_reason.stderr}")
    # a region that holds, and then does not
    move = realm.order("west-1", "move", 202, context="ledger", to="south")
    realm.wait_for_op("west-1", move["id"], "done")
    gone = realm.write("gone", without("south"))
    p = refused(gone, "region-holds")
    check("south" in p.stderr and "evacuate" in p.stderr, p.stderr)
    back = realm.order("west-1", "move", 202, context="ledger", to="west")
    realm.wait_for_op("west-1", back["id"], "done")
    check_equal(realm.apply(gone).returncode, 0, "exit code when it holds nothing")
    realm.wait_for_generation(2, "west-1", "north-1")
    wait_until("south's agent does not go by it", lambda: realm.shared("south-1").get("trouble"), PATIENCE_S)
    # who has to promise follows: the file of west still has south
    wait_until("nobody waits for south any more", lambda: not realm.authority("west-1").get("votes", {}).get("south"),
               PATIENCE_S)
    realm.kill("south-1")
    realm.judge()


def test_an_order_waits_for_no_other(stage):
    """While an operation is under way nothing is applied."""
    realm = Agreeing(stage).begin()
    realm.wait_for_generation(1)
    wait_until("north is ready", lambda: "ledger" in realm.authority("west-1")["votes"]["north"]["well"], PATIENCE_S)
    realm.freeze("north-1")
    move = realm.order("west-1", "move", 202, context="ledger", to="north")
    op = realm.op("west-1", move["id"])
    if op.get("state") in ("waiting", "running"):
        p = realm.apply(realm.write("other", lease("3s")))
        still = realm.op("west-1", move["id"])
        if still.get("state") in ("waiting", "running"):
            check_equal(p.returncode, 3, f"{p.stdout}{p.stderr}")
            check("one-at-a-time" in p.stderr and move["id"] in p.stderr, p.stderr)
    realm.freeze("north-1", wake=True)
    realm.judge()


def test_a_new_host_joins_by_the_file_and_the_order(stage):
    """An agent that is only in the file starts, says that it is not agreed upon, and is one of all after the order;
    with it who has to promise."""
    realm = Agreeing(stage).begin()
    realm.wait_for_generation(1)
    realm.hosts["north-2"] = host("north", 2, ["gate", "health", "controller"])
    wider = realm.write("wider", lambda c: c["hosts"].update({"north-2": realm.hosts["north-2"]}))
    realm.files["north-2"] = wider
    keys = [k["key"] for k in realm.diff(wider)["keys"]]
    check_equal(keys, ["hosts.north-2"], "keys that differ")
    done = realm.apply(wider)
    check_equal(done.returncode, 0, f"{done.stdout}{done.stderr}")
    realm.wait_for_generation(2)
    realm.start("north-2")
    realm.wait_for_generation(2)
    wait_until("west knows it", lambda: "north-2" in realm.status("west-1")["authority"]["peers"], PATIENCE_S)
    check_equal(realm.holders(), {"west": 1}, "holders")
    realm.judge()


def test_a_gate_alone_goes_by_it_too(stage):
    """A host without a controller asks those that watch coordination; it is on its disk, too."""
    realm = Agreeing(stage)
    realm.hosts["north-2"] = host("north", 2, ["gate", "health"])
    conf = json.loads(realm.conf.read_text())
    conf["hosts"] = realm.hosts
    realm.conf.write_text(json.dumps(conf))
    realm.files["north-2"] = realm.write("north-2", lease("3s"))
    realm.begin()
    realm.wait_for_generation(1)
    check_equal((realm.lease_ms("north-2"), realm.shared("north-2")["differs"]), (2000, True), "what it goes by")
    check_equal(realm.apply(realm.write("other", lease("4s"))).returncode, 0, "exit code of apply")
    realm.wait_for_generation(2)
    wait_until("it goes by it", lambda: realm.lease_ms("north-2") == 4000)
    realm.kill("owner", "west-1", "north-1", "east-1", "north-2")
    realm.start("north-2")
    realm.wait_for_generation(2, "north-2")
    wait_until("it goes by it when nobody else is there", lambda: realm.lease_ms("north-2") == 4000)
    realm.judge()


def test_nothing_is_refused_while_leases_change(stage):
    """Under commands without end: longer, shorter, and longer leases. No command is refused, and the epoch stays."""
    realm = Agreeing(stage).begin()
    realm.wait_for_generation(1)
    gate = int(realm.hosts["west-1"]["gate"].split(":")[1])
    answers, going = collections.Counter(), True

    def load(n):
        i = 0
        while going:
            i += 1
            try:
                status = lib.request(gate, "POST", f"/ledger/{n}", [("Idempotency-Key", f'"{n}-{i}"')], b"x").status
            except Exception as e:  # counted, and told of below
                status = e
            answers[status] += 1
    wait_until("west takes commands", lambda: lib.request(
        gate, "POST", "/ledger/0", [("Idempotency-Key", '"first"')], b"x").status == 200, PATIENCE_S)
    threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(4)]
    for t in threads:
        t.start()
    for generation, text in enumerate(("6s", "1s", "500ms", "3s"), 2):
        n = answers[200]
        check_equal(realm.apply(realm.write("next", lease(text))).returncode, 0, f"exit code of {text}")
        realm.wait_for_generation(generation)
        wait_until("commands flow under it", lambda n=n: answers[200] > n + 500, PATIENCE_S)
    going = False
    for t in threads:
        t.join()
    unread = [a for a in answers if isinstance(a, (OSError, lib.Failure))]  # a gate that was stalled hangs up
    check(len(unread) <= len(threads) * realm.stalls_of("west-1"), f"connections that ended: {unread}")
    check_equal(set(answers) - set(unread), {200}, f"answers: {answers}")
    check_equal(realm.holders(), {"west": 1}, "holders")
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
