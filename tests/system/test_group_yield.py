#!/usr/bin/env python3
"""The host of a primary dies while a controller of its region lives on: real agents, real PostgreSQL, a writer through
the doors of gates on hosts of their own."""

import contextlib
import json
import os
import signal
import time

import lib
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S, host
from test_group import Writer
from test_group_tunnel import Apart


class Towers(Apart):
    """Two nodes in west, one in north; the host of each gate is a controller, and lives on."""

    def __init__(self, stage, zones=None, **options):
        west = {n: "west" for n in zones or ("west-1", "west-2")}
        super().__init__(stage, nodes={**west, "north-1": "north"}, tls=False, **options)
        conf = json.loads(self.conf.read_text())
        for n in self.gates.values():
            conf["hosts"][n]["roles"].append("controller")
        for n, zone in (zones or {}).items():
            conf["hosts"][n]["zone"] = zone
        self.hosts = conf["hosts"]
        self.conf.write_text(json.dumps(conf))

    def descendants(self, pid):
        """Of a process, and what is at home in the data of its node."""
        found, todo = [], [pid]
        while todo:
            one = todo.pop()
            found.append(one)
            try:
                with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as f:
                    todo += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return found

    def kill_host(self, node):
        """Agent, guards and PostgreSQL at once: nobody testifies, and nobody ends anything."""
        agent = self.processes[node]
        pids = self.descendants(agent.pid) + self.postgres_of(node)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        agent.kill()
        wait_until(f"nothing of {node} lives", lambda: not self.postgres_of(node), PATIENCE_S)

    def wait_for_primary(self, node, seconds=PATIENCE_S):
        wait_until(f"{node} is primary", lambda: self.node(node).get("state") == "primary", seconds, every=0.05)

    def wait_for_standbys(self, primary, n):
        wait_until(f"{n} standbys of {primary} are promotable",
                   lambda: bin(self.node(primary).get("promotable") or 0).count("1") >= n, PATIENCE_S)


def test_primaries_die_one_after_the_other(stage):
    """First its postmaster, where a standby is preferred to a restart; then the host of the one that went on: each time the
    second node of the region goes on under another epoch. When that dies, too, the other region does, though a keeper of
    the region lives all the while. Nothing that was acknowledged is lost."""
    g = Towers(stage, failover={"prefer": "time"}).begin().create()
    keeper = g.gates["west"]
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_standbys("west-1", 2)

    at = time.monotonic()
    os.kill(int((g.data["west-1"] / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    g.wait_for_primary("west-2")
    w.wait_for_more()
    print(f"# postmaster dead, a node of its region: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    g.wait_for_standbys("west-2", 2)

    at = time.monotonic()
    g.kill_host("west-2")
    g.wait_for_primary("west-1")
    w.wait_for_more()
    print(f"# host of the primary dead, a node of its region: {w.longest_gap(at):.3f} s without an acknowledged write",
          flush=True)
    check_equal([c["region"] for c in g.cells(keeper)], ["west"], "who holds it")

    g.wait_for_standbys("west-1", 1)
    at = time.monotonic()
    g.kill_host("west-1")
    g.wait_for_primary("north-1")
    w.wait_for_more()
    print(f"# ... and another region: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    wait_until("the keeper knows that north holds it", lambda: [c["region"] for c in g.cells(keeper)] == ["north"],
               PATIENCE_S)

    w.stop()
    n = g.check_nothing_lost(w, "north-1")
    print(f"# {n} rows acknowledged, none lost", flush=True)


def test_a_zone_is_lost(stage):
    """Of two standbys in its region that have the same data, the one in another zone than the primary goes on; when its whole
    zone is lost the other one does, in the same region, and nothing that was acknowledged is lost."""
    g = Towers(stage, zones={"west-1": "a", "west-2": "a", "west-3": "b"}, failover={"prefer": "time"}).begin().create()
    g.wait_for_standbys("west-1", 3)
    shown = json.loads(g.fulmar("group", "status", "ledger", "-o", "json").stdout)["groups"]["ledger"]["nodes"]
    check_equal({n: x["zone"] for n, x in shown.items()}, {"west-1": "a", "west-2": "a", "west-3": "b", "north-1": None}, "zones")
    check("west/b" in g.fulmar("group", "status", "ledger").stdout, "the table has no zones")

    def level():  # as each of them has heard of the others
        seen = [n.get("flush") for w in ("west-2", "west-3") for n in (g.node(w).get("nodes") or {"": {}}).values()]
        return len(seen) == 8 and len(set(seen)) == 1

    # it writes each 15 s by itself, and then one of them has more for a moment, and is the right one
    writer = int(g.sql("west-1", "select pid from pg_stat_activity where backend_type = 'background writer'"))
    os.kill(writer, signal.SIGSTOP)
    try:
        wait_until("all are known to have the same data", level, PATIENCE_S)
        os.kill(int((g.data["west-1"] / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended with its server
            os.kill(writer, signal.SIGCONT)
    g.wait_for_primary("west-3")

    w = Writer(g)
    w.wait_for_more()
    g.wait_for_standbys("west-3", 3)
    at = time.monotonic()
    g.kill_host("west-3")
    went_on = wait_until("a node of zone a is primary", lambda: next(
        (n for n in ("west-1", "west-2") if g.node(n).get("state") == "primary"), None), PATIENCE_S, every=0.05)
    w.wait_for_more()
    print(f"# the zone of the primary lost: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    check_equal([c["region"] for c in g.cells(g.gates["west"])], ["west"], "who holds it")
    w.stop()
    g.check_nothing_lost(w, went_on)


def test_a_keeper_that_begins_anew_closes_nothing(stage):
    """The only controller of a region, on a host of its own, begins anew while the primary is open: the region's gate
    takes commands all the time."""
    g = Apart(stage, tls=False, failover={"mode": "assisted"}, lease="10s")
    conf = json.loads(g.conf.read_text())
    for n in g.region:
        conf["hosts"][n]["roles"] = ["health", "postgres"] if n == "west-1" else ["health", "controller", "postgres"]
    conf["hosts"]["west-3"] = host("west", 3, ["health", "controller"])
    g.hosts = conf["hosts"]
    g.conf.write_text(json.dumps(conf))
    g.begin()
    ident = g.order("west-3", "create", 202, context="ledger")["id"]
    g.wait_for_op("west-3", ident, "done", 2 * PATIENCE_S)
    g.wait_for_states(**{"west-1": "primary", "north-1": "standby"})

    def cell():
        return next(iter(((g.status("west-2") or {}).get("sub_leases") or {}).get("ledger", [])), {})

    wait_until("the gate takes commands", lambda: cell().get("holds") and not cell()["closed"], PATIENCE_S)
    g.kill("west-3")
    g.start("west-3")
    seen = []

    def is_keeper():
        seen.append(cell())
        return (g.authority("west-3").get("contexts") or {}).get("ledger", {}).get("own", {}).get("chain") == "hold"

    wait_until("there is a keeper again", is_keeper, PATIENCE_S, every=0.01)
    at = time.monotonic()
    while time.monotonic() - at < 3:
        seen.append(cell())
        time.sleep(0.01)
    seen = [c for c in seen if c]
    check(all(c.get("holds") for c in seen), f"its sub-lease has run out: {seen[-1]}")
    shut = [c for c in seen if c["closed"]]
    check_equal(shut, [], f"looks at which commands were held, of {len(seen)}")
    said = [e for e in g.authority("west-3")["events"] if e["what"] == "data"]
    check_equal(said, [], "what the keeper has said of the data")


if __name__ == "__main__":
    lib.main(globals())
