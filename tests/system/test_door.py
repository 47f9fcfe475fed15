#!/usr/bin/env python3
"""The doors of a PostgreSQL group with real PostgreSQL and its own clients. Who holds the group and what its nodes are
is said by this test: door_tool stands in for a gate (tests/unit/proxy/door_tool.c)."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import lib
import postgres
from lib import check, check_equal, wait_until

TOOL = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests/unit/door_tool"
EPOCH_MS = 3600 * 1000


class Door:
    """A gate's doors; region 0 is where they are."""

    def __init__(self, stage, name="door", hold_ms=8000):
        self.read_write, self.read_only = lib.free_port(), lib.free_port()
        with open(stage.path(f"{name}.err"), "ab") as err:
            self.tool = subprocess.Popen(
                [TOOL, f"127.0.0.1:{self.read_write}", f"127.0.0.1:{self.read_only}", "2", str(hold_ms)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True)
        stage.on_end(self.end)
        self.say("status")  # it listens

    def say(self, line):
        self.tool.stdin.write(line + "\n")
        self.tool.stdin.flush()
        answer = self.tool.stdout.readline()
        check(answer, f"the door has ended at {line!r}")
        return answer

    def node(self, n, role, epoch, server, lag_ms=0):
        self.say(f"node {n} {role} {epoch} {lag_ms} 127.0.0.1:{server.port}")

    def grant(self, epoch, ms=EPOCH_MS):
        self.say(f"grant {epoch} {ms}")

    def status(self):
        return json.loads(self.say("status"))[0]

    def end(self):
        if self.tool.poll() is None:
            self.tool.stdin.close()
            check_equal(self.tool.wait(10), 0, "exit code of the door")


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**clean, "PGUSER": "postgres", "PGDATABASE": "postgres", "PGHOST": "127.0.0.1",
            "PGCONNECT_TIMEOUT": "50", **{k: str(v) for k, v in more.items()}}


def psql(sql, **env):
    """(exit code, stdout, stderr)"""
    p = subprocess.run([postgres.bin_dir() / "psql", "-XAtq", "-c", sql], env=environment(**env), capture_output=True,
                       text=True, timeout=60)
    return p.returncode, p.stdout.strip(), p.stderr.strip()


def answers(sql, want, **env):
    code, out, err = psql(sql, **env)
    check_equal((code, out), (0, want), f"{sql}, which says {err!r}")


class Background:
    """A client that runs beside the test."""

    def __init__(self, sql, **env):
        self.process = subprocess.Popen([postgres.bin_dir() / "psql", "-XAtq", "-c", sql], env=environment(**env),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.strip(), err.strip()


def primary_behind_a_door(stage, server=(), **options):
    west = postgres.Server(stage, "west", server).make().start()
    door = Door(stage, **options)
    door.grant(5)
    door.node(0, "primary", 5, west)
    return west, door


def test_clients_reach_the_primary(stage):
    """psql, pgbench and large results pass through the read-write door"""
    west, door = primary_behind_a_door(stage)
    answers("select 40 + 2", "42", PGPORT=door.read_write)
    answers("select length(repeat('x', 20000000))", "20000000", PGPORT=door.read_write)
    code, out, err = psql("select repeat('x', 1000) from generate_series(1, 20000)", PGPORT=door.read_write)
    check_equal((code, len(out)), (0, 20000 * 1001 - 1), f"a large result, {err}")
    bench = [postgres.bin_dir() / "pgbench", "-h", "127.0.0.1", "-p", str(door.read_write), "-U", "postgres"]
    for arguments in (["-i", "-q", "-s", "1"], ["-c", "8", "-t", "100", "-n"]):
        p = subprocess.run([*bench, *arguments, "postgres"], env=environment(), capture_output=True, text=True, timeout=120)
        check_equal(p.returncode, 0, f"pgbench {arguments}: {p.stderr}")
    check_equal(west.sql("select count(*) from pgbench_history"), "800", "transactions of pgbench")
    wait_until("all connections are over", lambda: door.status()["connections"] == 0)
    check_equal(door.status()["resets"], 0, "resets")


def test_ctrl_c_cancels_a_query(stage):
    """Ctrl-C in psql cancels a running query through the door"""
    west, door = primary_behind_a_door(stage)
    client = Background("select pg_sleep(60)", PGPORT=door.read_write)
    wait_until("the query runs", lambda: west.sql("select count(*) from pg_stat_activity where state = 'active' and "
                                                  "query like 'select pg_sleep%'") == "1")
    client.process.send_signal(signal.SIGINT)
    code, _, err = client.end()
    check_equal(code, 1, "exit code of psql")
    check("canceling statement due to user request" in err, err)
    check_equal(door.status()["cancels"], 1, "cancel requests")


def test_tls_is_between_client_and_server(stage):
    """sslmode=require and verify-full reach the server's own TLS, plain clients too"""
    openssl = lib.program("openssl")
    done = subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                           "-keyout", "server.key", "-out", "server.crt"], cwd=stage.dir, capture_output=True, text=True)
    check_equal(done.returncode, 0, done.stderr)
    west = postgres.Server(stage, "west").make().with_tls(stage.path("server.crt"), stage.path("server.key")).start()
    door = Door(stage)
    door.grant(5)
    door.node(0, "primary", 5, west)
    encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    answers(encrypted, "t", PGPORT=door.read_write, PGSSLMODE="require")
    answers(encrypted, "t", PGPORT=door.read_write, PGSSLMODE="verify-full", PGSSLROOTCERT=stage.path("server.crt"))
    answers(encrypted, "f", PGPORT=door.read_write, PGSSLMODE="disable")
    client = Background("select pg_sleep(60)", PGPORT=door.read_write, PGSSLMODE="require")
    wait_until("the query runs", lambda: west.sql("select count(*) from pg_stat_activity where query like "
                                                  "'select pg_sleep%'") == "1")
    client.process.send_signal(signal.SIGINT)
    check("canceling statement" in client.end()[2], "a query of an encrypted session is cancelled")


def test_sessions_end_with_the_epoch(stage):
    """a session in a transaction is reset when its epoch ends; who asks what became of it asks the new primary"""
    west, door = primary_behind_a_door(stage, ["client_connection_check_interval=200ms"])
    client = Background("select pg_sleep(60)", PGPORT=door.read_write)
    wait_until("the query runs", lambda: west.sql("select count(*) from pg_stat_activity where query like "
                                                  "'select pg_sleep%'") == "1")
    door.say("stop 5")
    code, _, err = client.end()
    check_equal(code, 2, f"exit code of psql, which says {err!r}")
    check("server closed the connection" in err or "reset by peer" in err, err)
    check_equal(door.status()["resets"], 1, "resets")
    wait_until("the server has noticed", lambda: west.sql(
        "select count(*) from pg_stat_activity where backend_type = 'client backend'") == "1")


def test_new_connections_wait_for_a_planned_move(stage):
    """who connects during a move from one node to another waits, and finds the new primary; nobody sees an error"""
    west, door = primary_behind_a_door(stage, hold_ms=60000)
    west.sql("create table t (n int); insert into t values (1)")
    north = postgres.Server(stage, "north", ["hot_standby=on"]).copy_of(west).start()
    door.node(1, "standby", 0, north)
    door.say("quiet 60000")
    waiting = [Background("insert into t values (2)", PGPORT=door.read_write) for _ in range(5)]
    wait_until("five wait", lambda: door.status()["holding"] == 5)
    west.stop()
    door.say("stop 5")
    north.promote()
    check(all(c.process.poll() is None for c in waiting), "one has not waited")
    door.node(0, "away", 0, west)
    door.grant(6)
    time.sleep(0.2)
    check_equal(door.status()["holding"], 5, "those that wait for the primary to open")
    door.node(1, "primary", 6, north)
    ends = sorted(c.end() for c in waiting)
    check_equal([(code, err) for code, _, err in ends], [(0, "")] * 5, "how they ended")
    answers("select count(*) from t", "6", PGPORT=door.read_write)
    answers("select pg_is_in_recovery()", "f", PGPORT=door.read_write)


def test_waiting_ends_with_a_reason(stage):
    """without a primary a client waits for its bound and hears why, encrypted or not; libpq then tries the next host"""
    west, door = primary_behind_a_door(stage)
    closed = Door(stage, "closed", hold_ms=300)
    for mode in ("prefer", "disable"):
        code, _, err = psql("select 1", PGPORT=closed.read_write, PGSSLMODE=mode)
        check_equal(code, 2, "exit code of psql")
        check("FATAL:  group ledger: it is moving, or nobody is known to hold it" in err, err)
        answers("select 1", "1", PGHOST="127.0.0.1,127.0.0.1", PGPORT=f"{closed.read_write},{door.read_write}",
                PGSSLMODE=mode)
    answers("select 1", "1", PGHOST="127.0.0.1,127.0.0.1", PGPORT=f"{closed.read_write},{door.read_write}",
            PGTARGETSESSIONATTRS="read-write")


def test_a_dsn_with_both_regions_finds_the_holder(stage):
    """the door of the other region refuses connections, so that any client goes on to the next host, with TLS too"""
    west, door = primary_behind_a_door(stage)
    other = Door(stage, "other")
    other.say("elsewhere 5")
    for mode in ("prefer", "disable"):
        for ports in (f"{other.read_write},{door.read_write}", f"{door.read_write},{other.read_write}"):
            answers("select 1", "1", PGHOST="127.0.0.1,127.0.0.1", PGPORT=ports, PGSSLMODE=mode)
    code, _, err = psql("select 1", PGPORT=other.read_write)
    check_equal(code, 2, "exit code of psql")
    check("Connection refused" in err, err)
    # ... and takes over
    door.say("elsewhere 6")
    other.grant(6)
    other.node(0, "primary", 6, west)
    for ports in (f"{other.read_write},{door.read_write}", f"{door.read_write},{other.read_write}"):
        answers("select 1", "1", PGHOST="127.0.0.1,127.0.0.1", PGPORT=ports)


def test_readers_get_a_standby(stage):
    """the read-only door leads to a standby within its lag, else to the primary"""
    west, door = primary_behind_a_door(stage)
    recovery = "select pg_is_in_recovery()"
    answers(recovery, "f", PGPORT=door.read_only)
    north = postgres.Server(stage, "north", ["hot_standby=on"]).copy_of(west).start()
    door.node(1, "standby", 0, north, lag_ms=10)
    answers(recovery, "t", PGPORT=door.read_only)
    answers(recovery, "f", PGPORT=door.read_write)
    answers(recovery, "t", PGHOST="127.0.0.1,127.0.0.1", PGPORT=f"{door.read_write},{door.read_only}",
            PGTARGETSESSIONATTRS="standby")
    door.node(1, "standby", 0, north, lag_ms=60001)
    answers(recovery, "f", PGPORT=door.read_only)
    door.node(1, "standby", 0, north, lag_ms=10)
    north.stop()
    answers(recovery, "f", PGPORT=door.read_only)


def test_a_restart_of_the_primary_is_waited_for(stage):
    """who connects while the primary restarts waits for it"""
    west, door = primary_behind_a_door(stage, hold_ms=30000)
    west.stop()
    client = Background("select 1", PGPORT=door.read_write)
    wait_until("it waits", lambda: door.status()["holding"] == 1)  # nobody has told the door of it yet
    door.node(0, "away", 0, west)
    west.start()
    check_equal(door.status()["holding"], 1, "those that wait for it to be open")
    door.node(0, "primary", 5, west)
    check_equal(client.end()[:2], (0, "1"), "how it ended")


def test_a_crowd_is_served(stage):
    """many connections at once, more than the server takes, and the number of them comes back to zero"""
    west, door = primary_behind_a_door(stage)
    ends = []

    def one():
        for _ in range(10):
            ends.append(psql("select 1", PGPORT=door.read_write))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check_equal([e for e in ends if e != (0, "1", "")], [], "those that failed")
    wait_until("all are over", lambda: door.status()["connections"] == 0)
    check_equal(door.status()["passed_on"], 80, "passed on")


if __name__ == "__main__":
    lib.main(globals())
