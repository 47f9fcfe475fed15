#!/usr/bin/env python3
"""The host of a primary dies while a controller of its region lives on: real agents, real PostgreSQL, a writer through
the doors of gates on hosts of their own."""

import json
import os
import signal
import time

import lib
from lib import check_equal, wait_until
from test_authority import PATIENCE_S
from test_group import Writer
from test_group_tunnel import Apart


class Towers(Apart):
    """Two nodes in west, one in north; the host of each gate is a controller, and lives on."""

    def __init__(self, stage, **options):
        super().__init__(stage, nodes={"west-1": "west", "west-2": "west", "north-1": "north"}, tls=False, **options)
        conf = json.loads(self.conf.read_text())
        for n in self.gates.values():
            conf["hosts"][n]["roles"].append("controller")
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
    check_equal([c["region"] for c in g.cells(keeper)], ["north"], "who holds it")

    w.stop()
    n = g.check_nothing_lost(w, "north-1")
    print(f"# {n} rows acknowledged, none lost", flush=True)


if __name__ == "__main__":
    lib.main(globals())
