#!/usr/bin/env python3
"""A PostgreSQL group of two regions with real agents and real PostgreSQL: made, moved, lost and rejoined. A writer
writes down each row that was acknowledged to it, by the clock of the machine: is each of them there afterwards?"""

import glob
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time

import lib
import processes
from lib import FULMAR, check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm

PASSWORD = "a-secret-of-this-test"


class Writer:
    """Inserts numbers, one after the other, at whoever takes writes; each that was acknowledged is remembered."""

    def __init__(self, group, first=0):
        self.group = group
        self.acknowledged = []  # (number, when)
        self.unknown = set()
        self.running = True
        self.n = first
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running:
            psql = subprocess.Popen(self.group.psql("any"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, bufsize=0, env=self.group.env)
            try:
                while self.running:
                    self.n += 1
                    psql.stdin.write(b"insert into t values (%d);\n" % self.n)
                    line = psql.stdout.readline()
                    if line.startswith(b"INSERT"):
                        self.acknowledged.append((self.n, time.monotonic()))
                    elif not line:
                        self.unknown.add(self.n)
                        break
            except OSError:
                self.unknown.add(self.n)
            psql.kill()
            psql.wait()
            time.sleep(0.01)

    def stop(self):
        self.running = False
        self.thread.join(5)

    def longest_gap(self, since):
        times = [t for _, t in self.acknowledged if t >= since]
        before = [t for _, t in self.acknowledged if t < since][-1:]
        times = before + times
        return max((b - a for a, b in zip(times, times[1:])), default=float("inf"))

    def wait_for_more(self, n=30, seconds=PATIENCE_S):
        have = len(self.acknowledged)
        wait_until(f"{n} more rows are acknowledged", lambda: len(self.acknowledged) >= have + n, seconds)


class Group(Realm):
    def __init__(self, stage, mode="sync", failover=None, secrets=True, **more):
        if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
            raise lib.Skip("PostgreSQL is not installed")
        super().__init__(stage, failover=failover, **more)
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        conf = json.loads(self.conf.read_text())
        secret = stage.write("secret", PASSWORD + "\n")
        secret.chmod(0o600)
        stage.dir.chmod(0o755)
        pg = stage.path("pg")
        pg.mkdir(mode=0o755)
        os.chown(pg, self.user.pw_uid, self.user.pw_gid)
        self.nodes = {"west": "west-1", "north": "north-1"}
        self.port = {r: lib.free_port() for r in self.nodes}
        for n in self.nodes.values():
            conf["hosts"][n]["roles"].append("postgres")
        conf["groups"] = {"ledger": {
            "contexts": ["ledger"], "user": self.user.pw_name,
            "nodes": {n: {"data": str(pg / n), "port": self.port[r]} for r, n in self.nodes.items()},
            "users": {u: {"password-file": str(secret)} for u in ("admin", "replication")},
            "replication": {"mode": mode, "beyond": "no-automatic"}, "settings": {"shared_buffers": "16MB", "log_checkpoints": "on"}}}
        if not secrets:
            del conf["groups"]["ledger"]["users"]
        self.conf.write_text(json.dumps(conf))
        self.env = {**os.environ, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "2"}
        self.data = {r: pg / n for r, n in self.nodes.items()}

    def psql(self, region, *more):
        ports = [self.port[region]] if region in self.port else list(self.port.values())
        dsn = "user=fulmar_admin dbname=postgres host=" + ",".join(["127.0.0.1"] * len(ports)) + \
            " port=" + ",".join(map(str, ports)) + ("" if region in self.port else " target_session_attrs=read-write")
        return ["psql", "-X", "-d", dsn, *more]

    def sql(self, region, text):
        try:
            done = subprocess.run(self.psql(region, "-Atc", text), capture_output=True, text=True, check=False,
                                  env=self.env, timeout=10)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def node(self, region):
        return ((self.status(self.nodes[region]) or {}).get("groups") or {}).get("ledger") or {}

    def states(self):
        return {r: self.node(r).get("state") for r in self.nodes}

    def wait_for_states(self, seconds=PATIENCE_S, **wanted):
        try:
            wait_until(f"{wanted}", lambda: self.states() == wanted, seconds, every=0.05)
        except lib.Failure as e:
            raise lib.Failure(f"{e}: {[self.node(r) for r in self.nodes]}") from None

    def wait_for_redundancy(self, primary):
        """Until a standby is recorded that can be promoted without loss."""
        wait_until(f"a standby of {primary} is promotable", lambda: self.node(primary).get("promotable"), PATIENCE_S)

    def fulmar(self, *arguments):
        return subprocess.run([FULMAR, *arguments, "-c", self.conf, "--host", "west-1"], capture_output=True, text=True,
                              check=False, timeout=90)

    def create(self):
        """The group, with its primary at the first of its nodes."""
        first = next(iter(self.nodes))
        done = self.fulmar("group", "create", "ledger", "--reason", "a test", "--timeout", "60s")
        check_equal(done.returncode, 0, f"exit code of group create: {done.stdout} {done.stderr}")
        self.wait_for_states(**{n: "primary" if n == first else "standby" for n in self.nodes})
        wait_until("a table is made", lambda: self.sql(first, "create table if not exists t (i int)") is not None, 30)
        return self

    def postgres_of(self, region):
        return processes.at_home_in(self.data[region])

    def check_nothing_lost(self, writer, region):
        """Every row that was acknowledged is there, and no other that was never sent."""
        rows = wait_until("the rows are read", lambda: self.sql(region, "select string_agg(i::text, ',') from t"), 30)
        there = {int(x) for x in rows.split(",")}
        lost = [n for n, _ in writer.acknowledged if n not in there]
        check(not lost, f"{len(lost)} acknowledged rows are lost in {region}: {lost[:10]}")
        return len(writer.acknowledged)


def test_create(stage):
    """Two empty folders become a primary and a standby with one command; the status says so."""
    g = Group(stage).begin()
    g.create()
    shown = g.fulmar("group", "status", "ledger")
    check_equal(shown.returncode, 0, f"exit code of group status: {shown.stderr}")
    check("primary west-1" in shown.stdout and "streaming" in shown.stdout, shown.stdout)
    refused = g.fulmar("group", "create", "ledger", "--reason", "again")
    check_equal(refused.returncode, 3, f"exit code of a second create: {refused.stdout} {refused.stderr}")


def test_passwords(stage):
    """A file that names no passwords: they are made with the first node, and the other host gets them."""
    g = Group(stage, secrets=False).begin()
    done = g.fulmar("group", "create", "ledger", "--reason", "a test", "--timeout", "60s")
    check_equal(done.returncode, 0, f"exit code of group create: {done.stdout} {done.stderr}")
    g.wait_for_states(west="primary", north="standby")
    kept = {r: [stage.path(n) / "groups" / "ledger" / f"{u}.password" for u in ("admin", "replication")]
            for r, n in g.nodes.items()}
    for mine, other in zip(kept["west"], kept["north"]):
        check_equal(mine.read_text(), other.read_text(), "the password of the other host")
        check_equal(oct(other.stat().st_mode & 0o777), "0o600", "its mode")
    g.env["PGPASSWORD"] = kept["north"][0].read_text()
    check_equal(g.sql("north", "select pg_is_in_recovery()"), "t", "the administrator is let in")


def test_status_says_what_is_wrong(stage):
    """A wrong password and an agent that is gone stand in `group status`, at the node."""
    g = Group(stage).begin().create()

    def wait_for_trouble(node, words):
        def is_said():
            shown = json.loads(g.fulmar("group", "status", "ledger", "-o", "json").stdout)
            trouble = shown["groups"]["ledger"]["nodes"][node]["trouble"]
            return trouble if words in (trouble or "") else None
        return wait_until(f"{words} at {node}", is_said, PATIENCE_S)

    def no_trouble():
        shown = json.loads(g.fulmar("group", "status", "ledger", "-o", "json").stdout)
        return all(n["trouble"] is None for n in shown["groups"]["ledger"]["nodes"].values())

    wait_until("nothing is wrong", no_trouble)
    subprocess.run(g.psql("west", "-c", "alter role fulmar_admin password 'another'", "-c",
                          "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and "
                          "usename = 'fulmar_admin'"), env=g.env, check=True, capture_output=True, timeout=30)
    wait_for_trouble("west-1", "password authentication failed")
    check("! PostgreSQL lets nobody in" in g.fulmar("group", "status").stdout, "the table does not say it")
    g.kill("north-1")
    wait_for_trouble("north-1", "its agent cannot be reached")
    lines = [line for line in g.fulmar("group", "status").stdout.splitlines() if line.startswith("  north-1 ")]
    check("(standby)" in lines[0], f"what it said last is shown as if it were so: {lines}")


def test_status_says_that_a_port_is_taken(stage):
    """PostgreSQL that cannot start says why in `group status`."""
    g = Group(stage).begin()
    with socket.create_server(("127.0.0.1", g.port["north"])):
        g.fulmar("group", "create", "ledger", "--reason", "a test", "--timeout", "10s")
        wait_until("the port is told", lambda: "Address already in use" in g.fulmar("group", "status").stdout, PATIENCE_S)
    g.wait_for_states(west="primary", north="standby")


def test_planned_move(stage):
    """A planned move under load loses nothing; the old primary follows the new one, and back again."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    for here, there in (("west", "north"), ("north", "west")):
        g.wait_for_redundancy(here)
        at = time.monotonic()
        ident = g.order(g.nodes[here], "move", 202, context="ledger", to=there)["id"]
        g.wait_for_op(g.nodes[here], ident, "done")
        g.wait_for_states(**{there: "primary", here: "standby"})
        w.wait_for_more()
        print(f"# {here} to {there}: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    w.stop()
    n = g.check_nothing_lost(w, "west")
    print(f"# {n} rows acknowledged, none lost", flush=True)


def test_primary_killed(stage):
    """kill -9 of the primary's agent: PostgreSQL dies with its lease, the standby is promoted, nothing that was
    acknowledged is lost, and the old primary rejoins by itself."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    at = time.monotonic()
    g.kill("west-1")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    check_equal(g.postgres_of("west"), [], "what is left of the old primary")
    w.wait_for_more()
    print(f"# agent killed: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")
    w.wait_for_more()
    w.stop()
    g.check_nothing_lost(w, "north")


def test_postmaster_killed_and_stopped(stage):
    """kill -9 of the primary's postmaster, under load: what is left of it is reaped before it is started again. SIGSTOP
    of it, so that nobody gets in any more: the same, when it has hung for ten seconds."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    pid = int((g.data["west"] / "postmaster.pid").read_text().split()[0])
    at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    w.wait_for_more()
    print(f"# postmaster killed: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    g.wait_for_states(west="primary", north="standby")
    pid = int((g.data["west"] / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    wait_until("it is killed", lambda: pid not in g.postgres_of("west"), PATIENCE_S)
    at = time.monotonic()
    w.wait_for_more()
    print(f"# postmaster stopped: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    w.stop()
    primary = wait_until("somebody is primary", lambda: next((r for r, s in g.states().items() if s == "primary"), None))
    g.check_nothing_lost(w, primary)


def test_agent_frozen(stage):
    """SIGSTOP of the primary's agent, past its lease: its PostgreSQL ends, the standby takes over, and when the agent
    wakes it follows."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    g.freeze("west-1")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    check_equal(g.postgres_of("west"), [], "what is left of the old primary")
    w.wait_for_more()
    g.freeze("west-1", wake=True)
    g.wait_for_states(north="primary", west="standby")
    w.stop()
    g.check_nothing_lost(w, "north")


if __name__ == "__main__":
    lib.main(globals())
