#!/usr/bin/env python3
"""Applications keep one DSN: a PostgreSQL group of two regions behind the doors of its gates, with real agents and real
PostgreSQL. A writer that knows only the doors writes down what was acknowledged to it."""

import json
import re
import socket
import subprocess

import lib
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S
from test_group import Group, Writer


class Behind(Group):
    """Clients know the read-write doors of both gates; `sql` of a region still asks its node itself."""

    def __init__(self, stage, **options):
        super().__init__(stage, **options)
        conf = json.loads(self.conf.read_text())
        self.door = {k: {r: lib.free_port() for r in self.nodes} for k in ("read-write", "read-only")}
        conf["groups"]["ledger"]["listen"] = {
            **{k: {n: f"127.0.0.1:{self.door[k][r]}" for r, n in self.nodes.items()} for k in self.door}, "read-lag": "5s"}
        self.conf.write_text(json.dumps(conf))
        self.env["PGCONNECT_TIMEOUT"] = "3"

    def psql(self, region, *more):
        if region in self.nodes:
            return super().psql(region, *more)
        return self.through([self.door["read-write"][r] for r in self.nodes], *more)

    def through(self, ports, *more):
        hosts = ",".join(["127.0.0.1"] * len(ports))
        return ["psql", "-X", "-d", f"user=fulmar_admin dbname=postgres host={hosts} port={','.join(map(str, ports))}", *more]

    def says(self, kind, region, text="select pg_is_in_recovery()"):
        """What one door answers; None where it does not."""
        done = subprocess.run(self.through([self.door[kind][region]], "-Atc", text), capture_output=True, text=True,
                              check=False, env=self.env, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else None

    def refuses(self, region):
        """Does the kernel say that nobody listens for writers there?"""
        try:
            socket.create_connection(("127.0.0.1", self.door["read-write"][region]), timeout=2).close()
            return False
        except ConnectionRefusedError:
            return True

    def check_doors(self, here, there):
        wait_until(f"writers reach {here}", lambda: self.says("read-write", here) == "f", PATIENCE_S)
        wait_until(f"nobody listens for writers in {there}", lambda: self.refuses(there), PATIENCE_S)
        wait_until(f"readers of {here} get the primary", lambda: self.says("read-only", here) == "f", PATIENCE_S)
        wait_until(f"readers of {there} get its standby", lambda: self.says("read-only", there) == "t", PATIENCE_S)
        door = self.status(self.nodes[here])["doors"][0]
        check_equal((door["group"], door["read_write"]["open"]), ("ledger", True), "the door in the status")
        door = self.status(self.nodes[there])["doors"][0]
        check_equal(door["read_write"]["why"], "elsewhere", "why the other door is shut")


def test_one_dsn_through_a_planned_move(stage):
    """A writer that knows only the doors goes on through planned moves, there and back, and nothing is lost."""
    g = Behind(stage).begin().create()
    g.check_doors("west", "north")
    have = lib.get(int(g.hosts["west-1"]["admin"].split(":")[1]), "/metrics").body.decode()
    for name in re.findall(r"`(fulmar_gate_door_\w+)", (lib.ROOT / "docs" / "operations.md").read_text()):
        check(f"\n{name}" in have, f"{name} is not in /metrics")
    w = Writer(g)
    w.wait_for_more()
    for here, there in (("west", "north"), ("north", "west")):
        g.wait_for_redundancy(here)
        g.wait_for_heir(there)
        ident = g.order(g.nodes[here], "move", 202, context="ledger", to=there)["id"]
        g.wait_for_op(g.nodes[here], ident, "done")
        g.wait_for_states(**{there: "primary", here: "standby"})
        w.wait_for_more()
        g.check_doors(there, here)
    w.stop()
    print(f"# {g.check_nothing_lost(w, 'west')} rows acknowledged, none lost", flush=True)


def test_one_dsn_when_the_host_of_the_primary_freezes(stage):
    """The agent of the primary, its gate included, is frozen past its lease: the writer finds the new primary, and what
    the old door says after it wakes counts for nobody."""
    g = Behind(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    sleeper = subprocess.Popen(g.through([g.door["read-write"]["west"]]), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=g.env)
    sleeper.stdin.write("select 'here';\n")
    sleeper.stdin.flush()
    wait_until("a session stands", lambda: "here" in sleeper.stdout.readline())
    g.freeze("west-1")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    g.freeze("west-1", wake=True)
    said, _ = sleeper.communicate("select 'still here';\n", timeout=30)
    check("still here" not in said.replace("select 'still here'", ""), f"a session of the old primary answers: {said}")
    g.wait_for_states(north="primary", west="standby")
    w.wait_for_more()
    g.check_doors("north", "west")
    w.stop()
    g.check_nothing_lost(w, "north")


if __name__ == "__main__":
    lib.main(globals())
