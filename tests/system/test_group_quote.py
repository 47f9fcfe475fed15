#!/usr/bin/env python3
"""What a forced failover of a PostgreSQL group costs, and who says so: quotes, refusals, a person's consent, with real
agents and real PostgreSQL. Does the node go on that a person meant, and no other?"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import lib
import processes
from lib import FULMAR, check, check_equal, wait_until
from test_authority import PATIENCE_S, host
from test_group import Group, Writer

ASSISTED = {"mode": "assisted"}


def fulmar(group, name, *arguments):
    return subprocess.run([FULMAR, *arguments, "-c", group.conf, "--host", name], capture_output=True, text=True,
                          check=False, timeout=90)


def quote(group, to="north", name="north-1"):
    done = fulmar(group, name, "quote", "ledger", "--to", to, "-o", "json")
    check_equal(done.returncode, 0, f"exit code of quote: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def wait_until_lost(group):
    def is_lost():
        done = fulmar(group, "north-1", "quote", "ledger", "--to", "north", "-o", "json")
        # one that has just begun has not read yet who holds what, and refuses
        return done.returncode == 0 and json.loads(done.stdout)["evidence"]["lost_by"] >= 2

    wait_until("observers lost west", is_lost, PATIENCE_S)


def failover(group, *more, name="north-1"):
    return fulmar(group, name, "failover", "ledger", "--to", "north", "--reason", "west burns", "--timeout", "60s", *more)


def refused(group, rule, *more):
    done = failover(group, "-o", "json", *more)
    check_equal(done.returncode, 3, f"exit code of a failover that is refused: {done.stdout} {done.stderr}")
    doc = json.loads(done.stdout)
    check_equal((doc["schema"], doc["rule"]), ("fulmar.refusal/1", rule), f"refusal {doc}")
    check(doc["evidence"] and doc["remedy"], f"evidence and remedy of {doc}")


def accept(group, q):
    done = failover(group, "--accept-loss", q["quote"], "--confirm", "ledger")
    check_equal(done.returncode, 0, f"exit code of the failover: {done.stdout} {done.stderr}")


def test_a_loss_that_is_bounded(stage):
    """A synchronous group: the quote says 0, by which standby; while the primary is well nobody takes over, and when it
    is dead the failover with the quote loses nothing."""
    g = Group(stage, failover=ASSISTED).begin().create()
    g.wait_for_redundancy("west")

    def known():
        q = quote(g)
        standby = q["groups"][0]["standby"] or {}
        return q if q["bound_kind"] == "enforced" and standby.get("promotable") and standby.get("flush") else None

    q = wait_until("the quote knows of the standby", known, PATIENCE_S)
    check_equal((q["bound_kind"], q["loss_bytes"], q["loss_transactions"], q["loss_ms"], q["unbounded"]),
                ("enforced", 0, 0, 0, False), "the loss")
    check_equal((q["from"], q["to"], q["valid_for_ms"]), ("west", "north", 60000), "the quote")
    of = q["groups"][0]
    check_equal((of["primary"], of["standby"]["node"], of["standby"]["timeline"]), ("west-1", "north-1", 1), "the nodes")
    check(of["standby"]["flush"] and of["standby"]["behind_bytes"] is not None, f"where the standby is: {of}")
    check_equal([(f["host"], f["ended_by"]) for f in q["fences"]], [("west-1", "lease")], "the fences")
    shown = fulmar(g, "north-1", "quote", "ledger", "--to", "north")
    for words in ("loss: at most 0 bytes, 0 transactions (enforced by PostgreSQL)", "would be promoted: north-1: standby",
                  "ledger of west-1 ends with its lease", "a failover would be refused"):
        check(words in shown.stdout, f"`{words}` is not in {shown.stdout}")
    refused(g, "holder-healthy", "--accept-loss", q["quote"], "--confirm", "ledger")
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    g.kill("west-1")
    wait_until_lost(g)
    wait_until("the lease has run out", lambda: quote(g)["fences"][0]["ended_by"] == "lapsed", PATIENCE_S)
    check(g.states()["north"] in ("standby", "catching-up"), "somebody took over, and nobody had said so")
    accept(g, quote(g))
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    w.wait_for_more()
    w.stop()
    g.check_nothing_lost(w, "north")


def agrees(q):
    """A quote is one statement: what it says of the loss, of who would be promoted and of who is ready fits together."""
    best, sure, ready = q["groups"][0]["standby"], q["bound_kind"] == "enforced", q["evidence"]["ready"]
    return (q["unbounded"] == (not sure) and (best is not None or not (sure or ready))
            and (best is None or best["bound_kind"] == q["bound_kind"]) and bool(q["evidence"]["ready_why"]) == (not ready))


def test_right_after_a_move_a_quote_agrees_with_itself(stage):
    """While the old primary comes back as a standby a quote may change from moment to moment, and never contradicts itself."""
    g = Group(stage, failover=ASSISTED, alone=True).begin().create()
    g.wait_for_redundancy("west")
    seen, stop = [], threading.Event()

    def ask(name):
        while not stop.is_set():
            done = fulmar(g, name, "quote", "ledger", "--to", "west", "-o", "json")
            seen.append(json.loads(done.stdout) if done.returncode == 0 else {"rule": done.stdout})
    askers = [threading.Thread(target=ask, args=(name,)) for name in ("west-1", "north-1")]
    for a in askers:
        a.start()
    stage.on_end(stop.set)
    g.wait_for_heir("north")
    moved = fulmar(g, "west-1", "move", "ledger", "--to", "north", "--reason", "a test", "--timeout", "60s")
    check_equal(moved.returncode, 0, f"the move: {moved.stdout} {moved.stderr}")
    g.wait_for_states(north="primary", west="standby")
    g.wait_for_redundancy("north")
    wait_until("it is bounded again", lambda: seen[-1].get("bound_kind") == "enforced", PATIENCE_S)
    stop.set()
    for a in askers:
        a.join()
    quotes = [q for q in seen if "bound_kind" in q]
    check(quotes, f"quotes: {seen[:3]}")
    for q in quotes:
        check(agrees(q), f"it contradicts itself: {json.dumps(q)}")

    def shown():
        text = fulmar(g, "west-1", "quote", "ledger", "--to", "west").stdout
        return "loss: at most 0 bytes" in text and "bounds the loss" in text

    wait_until("it is shown in west, too", shown, PATIENCE_S)


def test_the_only_survivor_bounds_nothing(stage):
    """North was away while west went on without it, then west dies: without a person nobody serves, and nothing that was
    quoted before counts; with a person's consent to a loss without bound the node of north goes on."""
    g = Group(stage, failover=ASSISTED).begin().create()
    g.wait_for_redundancy("west")

    def bounded():
        q = quote(g, name="west-1")
        return None if q["unbounded"] else q

    before = wait_until("it would cost nothing", bounded, PATIENCE_S)
    g.kill("north-1")
    w = Writer(g)
    wait_until("west goes on alone", lambda: len(w.acknowledged) > 50 and g.node("west").get("promotable") == 0, PATIENCE_S)
    w.stop()
    g.kill("west-1")
    g.start("north-1")
    wait_until_lost(g)
    wait_until("the node of north is heard", lambda: quote(g)["groups"][0]["standby"], PATIENCE_S)
    q = quote(g)
    check_equal((q["bound_kind"], q["loss_bytes"], q["loss_transactions"], q["unbounded"]),
                ("unbounded", None, None, True), "the loss")
    check_equal(q["groups"][0]["standby"]["bound_kind"], "unbounded", "of the one that would be promoted")
    shown = fulmar(g, "north-1", "status", "ledger").stdout
    check("not bounded: no standby counts: north-1 is " in shown, f"why nothing bounds it: {shown}")
    check("loss: not bounded" in fulmar(g, "north-1", "quote", "ledger", "--to", "north").stdout, "what is shown")
    refused(g, "quote", "--accept-loss", before["quote"], "--confirm", "ledger")
    refused(g, "loss")
    time.sleep(3)
    check(g.states()["north"] in ("standby", "catching-up"), "it took over without consent")
    accept(g, q)
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    check_equal(g.sql("north", "insert into t values (-1)"), "INSERT 0 1", "it takes writes")
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")
    g.wait_for_redundancy("north")
    wait_until("what was accepted is over", lambda: not quote(g, to="west")["unbounded"], PATIENCE_S)


class Three(Group):
    """A second standby in north."""

    def __init__(self, stage, **more):
        super().__init__(stage, **more)
        conf = json.loads(self.conf.read_text())
        self.hosts["north-2"] = conf["hosts"]["north-2"] = {**host("north", 2, ["health", "postgres"])}
        self.nodes["north2"] = "north-2"
        self.port["north2"] = lib.free_port()
        self.data["north2"] = self.data["north"].parent / "north-2"
        conf["groups"]["ledger"]["nodes"]["north-2"] = {"data": str(self.data["north2"]), "port": self.port["north2"]}
        self.conf.write_text(json.dumps(conf))

    def receiver_of(self, region):
        return next((p for p in self.postgres_of(region) if b"walreceiver" in b" ".join(processes.argv_of(p))), None)


def test_the_more_advanced_of_two(stage):
    """Two standbys in the region that takes over, the first of which has received less: the quote names the other one,
    and that one is promoted."""
    g = Three(stage, mode="async", failover=ASSISTED).begin().create()
    g.sql("west", "insert into t select generate_series(1, 1000)")
    wait_until("north-1 has those", lambda: g.sql("north", "select count(*) from t") == "1000", PATIENCE_S)
    pid = wait_until("north receives", lambda: g.receiver_of("north"), PATIENCE_S)
    os.kill(pid, signal.SIGSTOP)
    stage.on_end(lambda: os.kill(pid, signal.SIGCONT) if os.path.exists(f"/proc/{pid}") else None)
    check(g.sql("west", "insert into t select generate_series(1001, 200000)", 60) is not None, "more rows")
    wait_until("north-2 has them", lambda: g.sql("north2", "select count(*) from t") == "200000", PATIENCE_S)
    behind = g.sql("north", "select count(*) from t")
    check(behind is not None and int(behind) < 200000, f"north-1 has {behind} rows: it is not behind")
    g.kill("west-1")
    wait_until_lost(g)
    q = quote(g)
    check_equal(q["groups"][0]["standby"]["node"], "north-2", f"who would be promoted: {q}")
    check_equal(q["unbounded"], True, "nothing enforces a bound")
    accept(g, q)
    wait_until("north-2 is primary", lambda: g.node("north2").get("state") == "primary", PATIENCE_S)
    check_equal(g.sql("north2", "select count(*) from t"), "200000", "rows")


class Guarded(Group):
    """West's agent, and an application, under a guard."""

    def start(self, *names):
        super().start(*(n for n in names or self.hosts if n != "west-1"))
        if not names or "west-1" in names:
            port = int(self.hosts["west-1"]["admin"].split(":")[1])
            self.processes["west-1"] = self.stage.fulmar("west-1", "guard", "-c", self.conf, "--host", "west-1", "--",
                                                         sys.executable, "-c", "import time; time.sleep(1000)", port=port)

    def agent(self):
        return processes.agent_below(self.processes["west-1"].pid)


def test_a_guard_testifies_for_the_database(stage):
    """kill -9 of the primary's agent where a guard lives: PostgreSQL is reaped with it, the guard says so, and the standby
    takes over without waiting for the lease."""
    g = Guarded(stage, lease="10s").begin().create()
    g.wait_for_redundancy("west")
    w = Writer(g)
    w.wait_for_more()
    at = time.monotonic()
    os.kill(g.agent(), signal.SIGKILL)
    check_equal(g.processes["west-1"].wait(PATIENCE_S), 1, "exit code of the guard")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    w.wait_for_more()
    w.stop()
    print(f"# agent under a guard killed: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    events = json.loads(fulmar(g, "north-1", "events", "-o", "json").stdout)["events"]
    first = {e["why"] if e["what"] == "authority" else e["what"]: e for e in sorted(events, key=lambda e: -e["number"])}
    votes = [e["evidence"] for e in events if e["what"] == "failover" and e.get("to") == "preparing"]
    check_equal(len(votes), 1, f"failovers that began: {events}")
    check("everything that can write is dead" in first["testimony"]["evidence"], f"what was testified: {first['testimony']}")
    check(first["testimony"]["number"] < first["acquired"]["number"], "it was acquired before anybody testified")
    check_equal(g.postgres_of("west"), [], "what is left of the old primary")
    g.check_nothing_lost(w, "north")


if __name__ == "__main__":
    lib.main(globals())
