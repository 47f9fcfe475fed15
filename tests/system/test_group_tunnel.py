#!/usr/bin/env python3
"""Gates and PostgreSQL on different hosts: hosts with the role `postgres` have no gate, hosts with a gate have no
PostgreSQL, and all of them speak by mutual TLS. Clients know the doors of gates alone; what they say reaches PostgreSQL
through the agent of its host. Real agents, real PostgreSQL."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import lib
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S
from test_group import Group, Writer
from test_peer_tls import certs

READ_LAG_S = 2


class Apart(Group):
    """Databases in `nodes` ({name: region}), a gate of its own in both regions; `sql` of a node asks it itself."""

    def __init__(self, stage, nodes=None, tls=True, **options):
        nodes = nodes or {"west-1": "west", "north-1": "north"}
        many = {r: 1 + list(nodes.values()).count(r) for r in ("west", "north")}
        super().__init__(stage, regions={**many, "east": 0}, **options)
        conf = json.loads(self.conf.read_text())
        pg = stage.path("pg")
        self.gates = {r: f"{r}-{n}" for r, n in many.items()}
        group = conf["groups"]["ledger"]
        self.nodes = dict(zip(nodes, nodes))  # a node is asked by its name
        self.port = {n: lib.free_port() for n in nodes}
        self.data = {n: pg / n for n in nodes}
        group["nodes"] = {n: {"data": str(pg / n), "port": self.port[n]} for n in nodes}
        for n, h in conf["hosts"].items():
            if n in nodes:
                h["roles"] = ["health", "controller", "postgres"]
                h.pop("gate", None)
            elif n in self.gates.values():
                h["roles"] = ["gate", "health"]
        self.door = {k: {r: lib.free_port() for r in self.gates} for k in ("read-write", "read-only")}
        group["listen"] = {**{k: {n: f"127.0.0.1:{self.door[k][r]}" for r, n in self.gates.items()} for k in self.door},
                           "read-lag": f"{READ_LAG_S}s"}
        if tls:
            conf["peer-tls"] = {"ca": "peers-ca.pem", "cert": "{host}.pem", "key": "{host}.key"}
        self.hosts = conf["hosts"]
        self.conf.write_text(json.dumps(conf))
        if tls:
            certs(self.conf, "init")
            certs(self.conf, "add")
            self._encrypt(conf, pg)
        self.env["PGCONNECT_TIMEOUT"] = "5"
        self.region = nodes

    def _encrypt(self, conf, folder):
        """PostgreSQL itself speaks TLS to those who want it."""
        for kind in ("pem", "key"):
            to = folder / f"server.{kind}"
            shutil.copy(self.stage.path(f"west-1.{kind}"), to)
            to.chmod(0o600)
            os.chown(to, self.user.pw_uid, self.user.pw_gid)
        conf["groups"]["ledger"]["settings"].update(
            {"ssl": "on", "ssl_cert_file": str(folder / "server.pem"), "ssl_key_file": str(folder / "server.key")})
        self.conf.write_text(json.dumps(conf))

    def dsn(self, *ports, more=""):
        hosts = ",".join(["127.0.0.1"] * len(ports))
        return f"user=fulmar_admin dbname=postgres host={hosts} port={','.join(map(str, ports))} {more}"

    def psql(self, region, *more):
        if region in self.nodes:
            return ["psql", "-X", "-d", self.dsn(self.port[region]), *more]
        return ["psql", "-X", "-d", self.dsn(*self.door["read-write"].values()), *more]

    def says(self, kind, region, text="select pg_is_in_recovery(), inet_server_port()", more="", seconds=30):
        """What the gate of a region lets one hear; None where it does not."""
        done = subprocess.run(["psql", "-X", "-At", "-F", " ", "-d", self.dsn(self.door[kind][region], more=more), "-c", text],
                              capture_output=True, text=True, check=False, env=self.env, timeout=seconds)
        self.last = done.stderr
        return done.stdout.strip() if done.returncode == 0 else None

    def wait_for_door(self, region, node):
        """Until writers at the gate of this region reach this node."""
        wanted = f"f {self.port[node]}"
        try:
            wait_until(f"writers in {region} reach {node}", lambda: self.says("read-write", region) == wanted, PATIENCE_S)
        except lib.Failure as e:
            door = self.status(self.gates[region]).get("doors")
            raise lib.Failure(f"{e}: {self.last} {json.dumps(door)}") from None

    def counted(self, host, what):
        return sum(d[what] for d in (self.status(host) or {}).get("doors") or [])

    def move(self, to):
        at = next(n for n in self.nodes if self.node(n).get("state") == "primary")
        self.wait_for_redundancy(at)
        self.wait_for_heir(to)
        ident = self.order(at, "move", 202, context="ledger", to=to)["id"]
        self.wait_for_op(at, ident, "done")


def test_gates_and_databases_on_hosts_of_their_own(stage):
    """Passwords, TLS to PostgreSQL itself, large results, load and cancel requests pass; nobody else gets in."""
    g = Apart(stage).begin().create()
    g.wait_for_door("west", "west-1")
    check_equal(g.says("read-write", "west", more="sslmode=disable"), f"f {g.port['west-1']}", "in clear to PostgreSQL")
    tls = "select ssl and version like 'TLS%' from pg_stat_ssl where pid = pg_backend_pid()"
    check_equal(g.says("read-write", "west", tls, "sslmode=require"), "t", "PostgreSQL's own TLS")
    check_equal(g.says("read-write", "west", "show password_encryption"), "scram-sha-256", "passwords")
    g.env["PGPASSWORD"], good = "wrong", g.env["PGPASSWORD"]
    check_equal(g.says("read-write", "west"), None, "with a wrong password")
    check("password authentication failed" in g.last, g.last)
    g.env["PGPASSWORD"] = good
    size = 30_000_000
    check_equal(len(g.says("read-write", "west", f"select repeat('x', {size})")), size, "bytes of a large result")
    at = ["-h", "127.0.0.1", "-p", str(g.door["read-write"]["west"]), "-U", "fulmar_admin"]
    bench = ["/usr/bin/env", "pgbench", *at, "-n"]
    for more in (["-i", "-q"], ["-c", "8", "-t", "100"], ["-C", "-S", "-c", "4", "-t", "25"]):
        done = subprocess.run([*bench, *more, "postgres"], capture_output=True, text=True, check=False, env=g.env, timeout=120)
        check_equal(done.returncode, 0, f"pgbench {more}: {done.stdout} {done.stderr}")
    check("number of failed transactions: 0 " in done.stdout, done.stdout)
    here, there = f"f {g.port['west-1']}", f"t {g.port['north-1']}"
    wait_until("readers of north, when it lags no more", lambda: g.says("read-only", "north") == there, PATIENCE_S)
    check_equal(g.says("read-only", "west"), here, "readers of west, without a standby there")
    check(g.counted("west-2", "tunnels") > 100, "the gate does not count its tunnels")
    check(g.counted("west-1", "visits") > 100, "the host of the database does not count what comes")
    wait_until("all are gone", lambda: g.counted("west-1", "connections") == g.counted("west-2", "connections") == 0,
               PATIENCE_S)
    g.judge()


def test_cancel(stage):
    """Ctrl-C in psql ends a query at the other end of the tunnel, in clear and inside of TLS."""
    g = Apart(stage).begin().create()
    g.wait_for_door("west", "west-1")
    for mode in ("disable", "require"):
        dsn = g.dsn(g.door["read-write"]["west"], more=f"sslmode={mode}")
        psql = subprocess.Popen(["psql", "-X", "-At", "-d", dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=g.env)
        psql.stdin.write("select 'here';\nselect pg_sleep(300);\n")
        psql.stdin.flush()
        sleeps = "select count(*) from pg_stat_activity where query like '%pg_sleep(300)%' and pid <> pg_backend_pid()"
        wait_until("it sleeps", lambda: g.sql("west-1", f"{sleeps} and state = 'active'") == "1", PATIENCE_S)
        psql.send_signal(signal.SIGINT)
        wait_until("it is cancelled", lambda: g.sql("west-1", f"{sleeps} and state = 'active'") == "0", PATIENCE_S)
        said, _ = psql.communicate(timeout=30)
        check("canceling statement due to user request" in said, f"{mode}: {said}")
    check(g.counted("west-1", "cancels") >= 1, "no cancel request came")


def test_a_planned_move_with_clients_that_wait(stage):
    """Those who come in the middle of the move wait at the door; nothing that was acknowledged is lost, there and back."""
    g = Apart(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    for here, there in (("west", "north"), ("north", "west")):
        held = g.counted(g.gates[here], "held")
        stop = threading.Event()
        comers = [threading.Thread(target=come, args=(g, here, stop), daemon=True) for _ in range(4)]
        for c in comers:
            c.start()
        g.move(there)
        g.wait_for_states(**{f"{there}-1": "primary", f"{here}-1": "standby"})
        stop.set()
        for c in comers:
            c.join()
        w.wait_for_more()
        g.wait_for_door(there, f"{there}-1")
        check(g.counted(g.gates[here], "held") > held, f"nobody waited in {here}")
    w.stop()
    print(f"# {g.check_nothing_lost(w, 'west-1')} rows acknowledged, none lost", flush=True)
    g.judge()


def come(g, region, stop):
    """Connects, says who it is, and leaves when it is asked for a password."""
    who = b"user\0fulmar_admin\0database\0postgres\0\0"
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", g.door["read-write"][region]), timeout=60) as s:
                s.sendall(struct.pack("!II", 8 + len(who), 3 << 16) + who)
                s.recv(1)
        except OSError:
            time.sleep(0.01)  # nobody listens there, now that the other region holds it


def test_the_primary_dies(stage):
    """kill -9 of its agent under load: nothing that was acknowledged is lost, new connections reach the new primary."""
    g = Apart(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west-1")
    g.kill("west-1")
    wait_until("north is primary", lambda: g.node("north-1").get("state") == "primary", PATIENCE_S)
    check_equal(g.postgres_of("west-1"), [], "what is left of the old primary")
    w.wait_for_more()
    g.wait_for_door("north", "north-1")
    w.stop()
    g.check_nothing_lost(w, "north-1")


def test_the_host_of_the_primary_freezes(stage):
    """Agent, guard and PostgreSQL of the primary are frozen past their time, the gate lives: when they wake nothing of what
    they say is passed on, and the gate is not shown to lead there."""
    g = Apart(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west-1")
    sleeper = subprocess.Popen(["psql", "-X", "-d", g.dsn(g.door["read-write"]["west"])], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=g.env)
    sleeper.stdin.write("select 'here';\n")
    sleeper.stdin.flush()
    wait_until("a session stands", lambda: "here" in sleeper.stdout.readline())
    frozen = g.postgres_of("west-1")
    g.freeze("west-1")
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):  # one that comes and goes
            os.kill(pid, signal.SIGSTOP)
    sleeper.stdin.write("insert into t values (-1);\nselect 'still here';\n")
    sleeper.stdin.flush()
    wait_until("north is primary", lambda: g.node("north-1").get("state") == "primary", PATIENCE_S)
    for pid in frozen:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # its guard has ended it
    g.freeze("west-1", wake=True)
    said, _ = sleeper.communicate(timeout=60)
    check("still here" not in said and "INSERT" not in said, f"a session of the old primary answers: {said}")
    w.wait_for_more()
    g.wait_for_door("north", "north-1")
    w.stop()
    g.check_nothing_lost(w, "north-1")


def test_readers_choose_between_two_standbys(stage):
    """Three nodes in two regions: readers are spread over the standbys of their region; one that lags is left."""
    nodes = {"west-1": "west", "west-2": "west", "north-1": "north"}
    g = Apart(stage, nodes=nodes).begin().create()
    g.wait_for_door("west", "west-1")
    near = f"t {g.port['west-2']}"
    wait_until("readers of west get the standby there", lambda: g.says("read-only", "west") == near, PATIENCE_S)
    g.move("north")
    g.wait_for_states(**{"west-1": "standby", "west-2": "standby", "north-1": "primary"})
    wait_until("a standby of west", lambda: (g.says("read-only", "west") or "").startswith("t "), PATIENCE_S)
    alone = f"f {g.port['north-1']}"
    wait_until("readers of north, with no standby", lambda: g.says("read-only", "north") == alone, PATIENCE_S)

    def writes():
        return g.sql("north-1", "insert into t values (0)") is not None

    for lags, other in (("west-1", "west-2"), ("west-2", "west-1")):
        check(g.sql(lags, "select pg_wal_replay_pause()") is not None, f"{lags} pauses")
        wait_until("a row is written", writes, PATIENCE_S)
        time.sleep(READ_LAG_S)
        wait_until("another row is written", writes, PATIENCE_S)
        wait_until(f"{lags} is left", lambda n=other: g.says("read-only", "west") == f"t {g.port[n]}", PATIENCE_S)
        for _ in range(10):
            check_equal(g.says("read-only", "west"), f"t {g.port[other]}", f"readers while {lags} lags")
        check(g.sql(lags, "select pg_wal_replay_resume()") is not None, f"{lags} goes on")
    g.judge()


def test_strangers(stage):
    """The way through an agent is for gates of its region: not for other hosts of the service, nor without a certificate."""
    g = Apart(stage).begin().create()
    g.wait_for_door("west", "west-1")
    port = int(g.hosts["west-1"]["peer"].split(":")[1])

    def asks(host):
        head = "GET /groups/ledger/door?as=primary&epoch=1 HTTP/1.1\r\nHost: west-1\r\nConnection: upgrade, close\r\n" \
               "Upgrade: fulmar-door/1\r\n\r\n"
        who = ["-cert", str(stage.path(f"{host}.pem")), "-key", str(stage.path(f"{host}.key"))] if host else []
        done = subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", *who], input=head,
                              capture_output=True, text=True, check=False, timeout=20)
        return (done.stdout.splitlines() or [""])[0]

    check_equal(asks("north-2"), "HTTP/1.1 403 Forbidden", "a gate of another region")
    check_equal(asks("north-1"), "HTTP/1.1 403 Forbidden", "a host without a gate")
    check_equal(asks(None), "", "without a certificate")


if __name__ == "__main__":
    lib.main(globals())
