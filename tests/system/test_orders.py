#!/usr/bin/env python3
"""The operators' commands against real agents: moves, failovers by hand, evacuation, modes; what is
shown of it afterwards; and from another host, with certificates. test_operate.py has the answers that
real agents do not give at will."""

import json
import re
import subprocess

import lib
from lib import FULMAR, check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm, old_is_well

BOTH = {"ledger": {"topology": "active-passive", "home": "west", "routes": ["/ledger/**"]},
        "cards": {"topology": "affinity", "cells": 6, "key": {"path": "card"},
                  "routes": ["/cards/{card}/**"]}}


class Operator:
    """Somebody at a host of a realm."""

    def __init__(self, realm, host):
        self.realm, self.host = realm, host

    def run(self, line, *more):
        done = subprocess.run([FULMAR, *line.split(), *map(str, more), "-c", str(self.realm.conf),
                               "--host", self.host], capture_output=True, text=True, check=False,
                              timeout=120, stdin=subprocess.DEVNULL)
        done.what = f"`{line}`: {done.returncode}, {done.stdout!r}, {done.stderr!r}"
        return done

    def expect(self, code, line, *more, says=""):
        done = self.run(line, *more)
        check_equal(done.returncode, code, f"exit code of {done.what}")
        check(says in done.stdout + done.stderr, f"{done.what} does not say {says!r}")
        return done

    def order(self, line, *more):
        """Until it is done: a busy machine can miss the bounds of a move, which then changes nothing."""
        return wait_until(f"`{line}` is done", lambda: (
            d := self.run(line, *more, "--reason", "a test")).returncode == 0 and d, PATIENCE_S)

    def doc(self, line, *more):
        return json.loads(self.run(line, "-o", "json", *more).stdout)


def begin(stage, **more):
    realm = Realm(stage, contexts=BOTH, failover={"mode": "manual"}, **more).begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    wait_until("cards are held", lambda: realm.holders("cards", 0) and realm.holders("cards", 1),
               PATIENCE_S)
    return realm


def test_a_move(stage):
    """Planned first, moved, moved again in vain; everybody can say how it went."""
    realm = begin(stage)
    west, north = Operator(realm, "west-1"), Operator(realm, "north-1")
    west.expect(2, "move ledger --to north --dry-run", says="ledger/0: west -> north")
    check_equal(list(realm.holders()), ["west"], "holders after a look at the plan")
    generation = west.doc("move ledger --to north --dry-run")["generation"]
    west.expect(3, "move ledger --to north --reason x --expect-generation", generation + 1,
                says="the rule `generation`")
    done = west.order("move ledger --to north --expect-generation", generation)
    check(done.stdout.startswith(f"service bank, generation {generation}, by the agent of west-1\n"),
          done.stdout)
    ident = re.search(r"^operation (\S+): move ledger to north$", done.stdout, re.M)[1]
    realm.wait_for("ledger", "north")
    wait_until("north shows it", lambda: re.search(r"^ledger +0 +north +2 ", north.run(
        "status").stdout, re.M), PATIENCE_S)
    west.expect(0, "move ledger --to north --dry-run", says="nothing to do")
    west.expect(0, "move ledger --to north --reason again", says="nothing has to be moved")
    for operator in (west, north):
        wait_until("it is known", lambda o=operator: o.run(f"op wait {ident}").returncode == 0)
        check(re.search(rf"^{ident} +done +move ledger to north +\S+@\S+ +a test$",
                        operator.expect(0, "op list").stdout, re.M), "op list")
    why = west.expect(0, "why ledger", says="every sub-lessee has stopped or run out")
    check(ident in why.stdout, why.stdout)
    check("cards" not in why.stdout, why.stdout)
    west.expect(0, "why ledger/0", says="the cell was released")
    events = west.doc("events")["events"]
    check("released" in [e["why"] for e in events], f"{events}")
    realm.judge()


def test_coordination_that_is_away_is_told(stage):
    """Before anything was read nobody knows who holds what, and it is not said that nobody does; later it is said for how long
    it is away, and what that means."""
    realm = Realm(stage, contexts=BOTH, failover={"mode": "manual"})
    stage.on_end(realm.end_watching)
    west = Operator(realm, "west-1")
    realm.start("west-1")
    first = wait_until("it is told", lambda: (d := west.run("status")).stdout.count("not reachable for") and d, PATIENCE_S)
    check("ledger         not known: coordination has not been read" in first.stdout, first.what)
    check("Nothing has been read since this agent began" in first.stdout, first.what)
    check("nobody has ever held it" not in first.stdout, first.what)
    west.expect(2, "status --check")
    realm.start("owner", "north-1", "east-1")
    wait_until("west holds it", lambda: re.search(r"^ledger +0 +west ", west.run("status").stdout, re.M), PATIENCE_S)
    check("not reachable" not in west.expect(0, "status").stdout, "it is reached")
    realm.kill("owner")
    away = wait_until("it is told again", lambda: (d := west.run("status")).stdout.count("not reachable for") and d, PATIENCE_S)
    check("What stands here is what was read last." in away.stdout, away.what)
    check(re.search(r"^ledger +0 +west ", away.stdout, re.M), away.what)
    doc = west.doc("status")["authority"]["coordination"]
    check_equal((doc["reached"], doc["read"]), (False, True), f"{doc}")
    check(doc["unreached_ms"] >= 1000 and doc["why"], f"{doc}")
    west.expect(75, "move ledger --to north --reason x")


def test_refusals(stage):
    """Each has its rule, its evidence and its exit code, and nothing happens. With the glass broken a holder that lives is
    asked to let go, and does."""
    realm = begin(stage)
    west = Operator(realm, "west-1")
    for code, line, says in [
            (64, "move nothing --to north", "no context `nothing`"),
            (64, "move ledger --to mars", "no region `mars`"),
            (64, "move cards --to north --cells 6", "it has the cells 0 to 5"),
            (3, "move ledger --to east", "the rule `cannot-hold`"),
            (3, "failover ledger --to north", "--override holder-healthy"),
            (3, "failover ledger --to north --accept-loss 20200101-000000-000000 --confirm ledger",
             "no such quote"),
            (3, "failover ledger --to north --attest-fence east", "the rule `attest`"),
            (2, "op abort 20200101-000000-000000", "no operation")]:
        west.expect(code, line, "--reason", "a test", says=says)
    doc = west.doc("failover ledger --to north --reason x")
    check_equal((doc["schema"], doc["rule"]), ("fulmar.refusal/1", "holder-healthy"), "document")
    check(doc["evidence"] and doc["remedy"], f"{doc}")
    west.expect(0, "quote ledger --to north", says="a failover would be refused")
    check_equal(realm.holders(), {"west": 1}, "holders")
    Operator(realm, "north-1").order("failover ledger --to north --override holder-healthy")
    check_equal(realm.wait_for("ledger", "north"), 2, "epoch")
    check("yielded" in [e["why"] for e in west.doc("events")["events"]], "the holder does not say that it gave it up")
    realm.judge()


def test_a_failover_by_hand(stage):
    """West dies: prepared and stood down, then taken over with a quote; then home again."""
    realm = begin(stage)
    north = Operator(realm, "north-1")
    realm.kill("west-1")
    wait_until("observers lost it", lambda: north.doc("quote ledger --to north").get(
        "evidence", {}).get("lost_by", 0) >= 2, PATIENCE_S)
    north.expect(3, "move ledger --to west --reason x", says="the rule `ready`")
    north.order("failover ledger --to north --prepare")
    north.expect(0, "status ledger", says="failover from west is prepared")
    north.order("failover ledger --to north --stand-down")
    check("failover from west" not in north.expect(0, "status ledger").stdout, "it is stood down")
    quote = north.doc("quote ledger --to north")
    check_equal((quote["from"], quote["loss_bytes"], quote["unbounded"]), ("west", 0, False), "quote")
    north.expect(64, f"failover ledger --to north --accept-loss {quote['quote']} --reason x")
    done = north.expect(4, f"failover ledger --to north --accept-loss {quote['quote']} --confirm "
                           "ledger --timeout 1ms --reason", "west burns", says="op wait")
    ident = done.stdout.split()[-1]
    north.expect(0, f"op wait {ident}", says="done: failover ledger to north")
    check_equal(realm.wait_for("ledger", "north"), 2, "epoch")
    north.expect(0, f"op show {ident}", says="west burns")
    north.expect(0, "why ledger", says="prepared -> completing")
    realm.start("west-1")
    wait_until("the ledger is home again", lambda: north.run(
        "failback ledger --reason", "west is repaired").returncode == 0, PATIENCE_S, every=0.5)
    check_equal(realm.wait_for("ledger", "west"), 3, "epoch")
    realm.judge()


def test_who_is_lost_hands_nothing_over(stage):
    """A move that waits for a region that dies is in nobody's way: it can be aborted, and the failover goes on meanwhile. Another
    one is refused, with what to do instead."""
    realm = begin(stage)
    north = Operator(realm, "north-1")
    realm.freeze("west-1")
    moves = {c: realm.order("north-1", "move", 202, context=c, to="north")["id"] for c in ("ledger", "cards")}
    realm.kill("west-1")
    wait_until("observers lost it", lambda: north.doc("quote ledger --to north").get(
        "evidence", {}).get("lost_by", 0) >= 2, PATIENCE_S)
    north.expect(3, "evacuate west --reason burns", says="can hand nothing over")
    north.expect(0, f"op abort {moves['cards']} --reason no --timeout 20s", says="is lost")
    quote = north.doc("quote ledger --to north")["quote"]
    north.expect(0, f"failover ledger --to north --accept-loss {quote} --confirm ledger --reason burns")
    realm.wait_for("ledger", "north")
    realm.wait_for_op("north-1", moves["ledger"], "done")
    realm.start("west-1")
    wait_until("west has heard of it", lambda: realm.cells("west-1") and realm.cells("west-1")[0]["region"] == "north", PATIENCE_S)
    check_equal(list(realm.holders()), ["north"], "holders")
    realm.judge()


def test_evacuation_and_shares(stage):
    """A share of the cells, then all that a region holds; what an agent does not hold it does not
    move."""
    realm = begin(stage)
    west = Operator(realm, "west-1")
    west.order("move cards --to north --percent 50")
    wait_until("cells 0 to 2 are north's", lambda: [c["region"] for c in realm.cells(
        "west-1", "cards")][:3] == ["north"] * 3, PATIENCE_S)
    west.expect(2, "evacuate west --dry-run", says="ledger/0: west -> north")
    west.order("evacuate west")
    for n in range(6):
        wait_until(f"north holds cards/{n}", lambda n=n: list(realm.holders("cards", n)) == ["north"],
                   PATIENCE_S)
    realm.wait_for("ledger", "north")
    west.expect(0, "evacuate west --dry-run", says="nothing to do")
    out = west.expect(0, "status").stdout
    check(re.search(r"^cards +0-5 +north +1-2 ", out, re.M), out)
    realm.judge()


def test_modes(stage):
    """Read-only and the pause of automatic are seen by everybody, until they are taken back."""
    realm = begin(stage)
    west, north = Operator(realm, "west-1"), Operator(realm, "north-1")

    def is_read_only():
        return "  read-only" in north.expect(0, "status ledger").stdout
    west.order("read-only ledger on --message later")
    wait_until("it is read-only", is_read_only, PATIENCE_S)
    west.order("read-only ledger off")
    wait_until("it is not any more", lambda: not is_read_only(), PATIENCE_S)
    west.order("automatic pause ledger --for 1h")
    west.order("automatic resume")
    def orders():
        return [o["kind"] for o in north.doc("op list")["operations"]]
    wait_until("all orders are listed", lambda: orders().count("automatic") >= 3 and orders().count(
        "read-only") >= 2, PATIENCE_S)
    realm.judge()


def test_from_another_host(stage):
    """With a certificate of the service an order goes to another host's agent; without one it does
    not, and in the clear none is taken but by the local socket."""
    realm = Realm(stage, contexts=BOTH, failover={"mode": "manual"})
    doc = json.loads(realm.conf.read_text())
    doc["peer-tls"] = {"ca": "peers-ca.pem", "cert": "{host}.pem", "key": "{host}.key"}
    realm.conf.write_text(json.dumps(doc))
    for arguments in (["init"], ["add"], ["add", "alice"]):
        done = subprocess.run([FULMAR, "certs", *arguments, "-c", realm.conf], capture_output=True,
                              text=True, timeout=60, check=False)
        check_equal(done.returncode, 0, f"fulmar certs: {done.stderr}")
    realm.begin()
    wait_until("north is ready", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    laptop = Operator(realm, "laptop")
    laptop.expect(78, "op list", says="--cert FILE --key FILE")
    alice = ["--cert", stage.path("alice.pem"), "--key", stage.path("alice.key")]
    laptop.order("move ledger --to north", *alice)
    realm.wait_for("ledger", "north")
    ops = json.loads(laptop.expect(0, "op list -o json", *alice).stdout)["operations"]
    check_equal({o["by"] for o in ops}, {"alice"}, "who it was, by the certificate")
    laptop.order("move ledger --to west --server north-1", *alice)
    realm.wait_for("ledger", "west")
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
