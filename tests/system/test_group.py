#!/usr/bin/env python3
"""A PostgreSQL group of two regions with real agents and real PostgreSQL: made, moved, lost and rejoined. A writer
writes down each row that was acknowledged to it, by the clock of the machine: is each of them there afterwards?"""

import glob
import itertools
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
from servers import reply
from test_authority import PATIENCE_S, Realm

PASSWORD = "a-secret-of-this-test"
LONG_LEASE = "5s"  # PostgreSQL ends where a machine lets nobody run for a good part of one, and its sessions with it


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
    def __init__(self, stage, mode="sync", failover=None, secrets=True, alone=False, **more):
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
        if alone:  # a context that is only a database
            for key in ("routes", "idempotency"):
                del conf["contexts"]["ledger"][key]
            for region in self.nodes:
                del conf["regions"][region]["apps"]
            self.door = {r: lib.free_port() for r in self.nodes}
            conf["groups"]["ledger"]["listen"] = {
                "read-write": {n: f"127.0.0.1:{self.door[r]}" for r, n in self.nodes.items()}}
        self.conf.write_text(json.dumps(conf))
        self.env = {**os.environ, "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "2"}
        self.data = {r: pg / n for r, n in self.nodes.items()}

    def psql(self, region, *more):
        ports = [self.port[region]] if region in self.port else list(self.port.values())
        dsn = "user=fulmar_admin dbname=postgres host=" + ",".join(["127.0.0.1"] * len(ports)) + \
            " port=" + ",".join(map(str, ports)) + \
            (" connect_timeout=10" if region in self.port else " target_session_attrs=read-write")
        return ["psql", "-X", "-d", dsn, *more]

    def sql(self, region, text, seconds=10):
        try:
            done = subprocess.run(self.psql(region, "-Atc", text), capture_output=True, text=True, check=False,
                                  env=self.env, timeout=seconds)
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

    def wait_for_heir(self, to):
        """Until a move there would not be refused: each keeper hears of the others from time to time."""
        body = {"reason": "a test", "by": "tester", "context": "ledger", "to": to, "dry_run": True}
        said = []

        def is_ready():
            said[:] = self.ask("west-1", "POST", "/ops/move", body)
            return said[0] == 200
        try:
            wait_until(f"{to} may become the heir", is_ready, PATIENCE_S)
        except lib.Failure as e:
            raise lib.Failure(f"{e}; a dry run says {said}") from None

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
        acknowledged = list(writer.acknowledged)  # one that is still at it may get more while rows are read
        rows = wait_until("the rows are read", lambda: self.sql(region, "select string_agg(i::text, ',') from t"), 30)
        there = {int(x) for x in rows.split(",")}
        lost = [n for n, _ in acknowledged if n not in there]
        check(not lost, f"{len(lost)} acknowledged rows are lost in {region}: {lost[:10]}")
        return len(acknowledged)


class Commands:
    """Commands through an edge; the application of a region writes each to PostgreSQL of its own region. Those that it
    could not write, since there was no primary, are counted, and so is what clients were told."""

    CLIENTS = 6

    def __init__(self, group):
        self.group, self.stage = group, group.stage
        self.port, self.admin = lib.free_port(), lib.free_port()
        self.lock = {r: threading.Lock() for r in group.nodes}
        self.session = {}  # region: a psql that stays
        self.found = {}  # epoch: the state of the region's node when its first command came
        self.written = {r: 0 for r in group.nodes}
        self.too_early, self.told = [], []
        self.running = False
        for region in group.nodes:
            group.apps[region].answer = lambda request, r=region: self._answer(r, request)
        conf = json.loads(group.conf.read_text())
        conf["edge"] = {"workers": 1, "listen": [{"address": f"127.0.0.1:{self.port}"}]}
        conf["hosts"]["front"] = {"region": "north", "roles": ["edge"], "address": "127.0.0.1",
                                  "admin": f"127.0.0.1:{self.admin}"}
        conf["contexts"]["ledger"]["when-away"] = {"hold": "40s"}
        group.conf.write_text(json.dumps(conf))

    def _write(self, region):
        """Is it in the database? A session that died with a primary of before is made anew, once."""
        for _ in range(2):
            psql = self.session.get(region)
            if not psql or psql.poll() is not None:
                psql = self.session[region] = subprocess.Popen(
                    self.group.psql(region, "-v", "ON_ERROR_STOP=1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, bufsize=0, env=self.group.env)
                self.stage.on_end(psql.kill)
            try:
                psql.stdin.write(b"insert into commands values (1);\n")
                if psql.stdout.readline().startswith(b"INSERT"):
                    return True
            except OSError:
                pass
            psql.kill()
            psql.wait()
        return False

    def _answer(self, region, request):
        if request.method != "POST":
            return reply(200)
        epoch = request.header("fulmar-authority")
        with self.lock[region]:
            if epoch not in self.found:
                self.found[epoch] = self.group.node(region).get("state")
            if self._write(region):
                self.written[region] += 1
                return reply(200)
        self.too_early.append((region, epoch))
        return reply(503)

    def _run(self, number):
        for i in itertools.count():
            if not self.running:
                return
            key = [("Idempotency-Key", f'"{number}-{i}"')]
            try:
                got = lib.request(self.port, "POST", "/ledger/1", key, b"x", timeout=PATIENCE_S)
                told = (got.status, got.body)
            except (OSError, lib.Failure) as e:
                told = (0, str(e))
            self.told.append(told)

    def start(self):
        wait_until("a table is made", lambda: self.group.sql("any", "create table if not exists commands (i int)") is not None, 30)
        self.stage.fulmar("front", "edge", "-c", self.group.conf, "--host", "front", port=self.admin)
        wait_until("commands are taken", lambda: lib.request(self.port, "POST", "/ledger/1", [], b"x",
                                                             timeout=PATIENCE_S).status == 200, PATIENCE_S)
        self.too_early.clear()
        self.running = True
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(self.CLIENTS)]
        for t in self.threads:
            t.start()

    def wait_for_more(self, region, n=30):
        have = self.written[region]
        wait_until(f"{n} more commands are written in {region}", lambda: self.written[region] >= have + n, PATIENCE_S)

    def stop(self, epochs):
        """Nobody was told of an error, and no application was asked before its primary was open."""
        self.running = False
        for t in self.threads:
            t.join(PATIENCE_S)
        check_equal(self.too_early, [], "commands that came to an application before its primary was open")
        check(len(self.found) >= epochs, f"commands came under fewer epochs: {self.found}")
        check_equal(set(self.found.values()), {"primary"}, f"the nodes when the first command came: {self.found}")
        failed = [t for t in self.told if t[0] != 200]
        check_equal(failed, [], f"commands that failed, of {len(self.told)}")
        print(f"# {len(self.told)} commands, none failed, none came too early", flush=True)


def test_create(stage):
    """Two empty folders become a primary and a standby with one command; the status says so."""
    g = Group(stage).begin()
    g.create()
    shown = g.fulmar("group", "status", "ledger")
    check_equal(shown.returncode, 0, f"exit code of group status: {shown.stderr}")
    check("primary west-1" in shown.stdout, shown.stdout)
    wait_until("north streams", lambda: "streaming" in g.fulmar("group", "status", "ledger").stdout, PATIENCE_S)
    refused = g.fulmar("group", "create", "ledger", "--reason", "again")
    check_equal(refused.returncode, 3, f"exit code of a second create: {refused.stdout} {refused.stderr}")


def test_smallest(stage):
    """A file that names no passwords, no application and no routes: passwords are made with the first node, and the other
    host gets them. What the region can serve is said by PostgreSQL; it is moved, failed over, and reached by its door."""
    g = Group(stage, secrets=False, alone=True).begin()

    def health(region):
        return g.status(g.nodes[region])["health"]["contexts"]["ledger"]

    check_equal((health("west")["capable"], health("north")["capable"]), (False, False), "health without data")
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

    def at_door(region):
        dsn = f"host=127.0.0.1 port={g.door[region]} user=fulmar_admin dbname=postgres"
        done = subprocess.run(["psql", "-XAtd", dsn, "-c", "select not pg_is_in_recovery()"], capture_output=True, text=True,
                              check=False, env=g.env, timeout=20)
        return done.stdout.strip() == "t"

    wait_until("both regions are well", lambda: health("west")["capable"] and health("north")["capable"], PATIENCE_S)
    g.wait_for_redundancy("west")
    wait_until("the door of west leads to it", lambda: at_door("west"), PATIENCE_S)

    def quoted():
        quote = json.loads(g.fulmar("quote", "ledger", "--to", "north", "-o", "json").stdout)
        return (quote.get("bound_kind"), quote.get("loss_bytes"))

    wait_until("nothing would be lost", lambda: quoted() == ("enforced", 0), PATIENCE_S)
    g.wait_for_heir("north")
    moved = g.fulmar("move", "ledger", "--to", "north", "--reason", "a test")
    check_equal(moved.returncode, 0, f"exit code of move: {moved.stdout} {moved.stderr}")
    g.wait_for_states(west="standby", north="primary")
    wait_until("the door of north leads to it", lambda: at_door("north"), PATIENCE_S)
    g.wait_for_redundancy("north")
    g.kill("north-1")
    wait_until("west has taken over", lambda: g.node("west").get("state") == "primary", PATIENCE_S)
    wait_until("its door leads to it", lambda: at_door("west"), PATIENCE_S)


def trouble_of(g, node):
    nodes = json.loads(g.fulmar("group", "status", "ledger", "-o", "json").stdout)["groups"]["ledger"]["nodes"]
    return nodes[node]["trouble"]


def wait_for_trouble(g, node, words):
    """Until `group status` says so of the node; no words: that nothing is wrong."""
    said = []

    def is_said():
        said[:] = [trouble_of(g, node) or ""]
        return words in said[0] if words else not said[0]
    try:
        wait_until(f"{words or 'nothing'} at {node}", is_said, PATIENCE_S)
    except lib.Failure as e:
        raise lib.Failure(f"{e}; it says {said}") from None


def wait_until_refused(g, node, to, evidence):
    """Until this node has heard why no move may go there."""
    said = []

    def is_refused():
        said[:] = g.ask(node, "POST", "/ops/move", {"reason": "a test", "by": "tester", "context": "ledger", "to": to,
                                                    "dry_run": True})
        return said[0] == 409 and said[1]["evidence"] == evidence
    try:
        wait_until(f"a move to {to} is refused", is_refused, PATIENCE_S)
    except lib.Failure as e:
        raise lib.Failure(f"{e}; it is answered {said}") from None


def reconnect(g, region, user):
    """Whoever is in as this user has to come in anew."""
    subprocess.run(g.psql(region, "-c", "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                          f"and usename = '{user}'"), env=g.env, check=True, capture_output=True, timeout=30)


def test_status_says_what_is_wrong(stage):
    """A primary that lets a standby not in, a wrong password and an agent that is gone stand in `group status`, at the
    node."""
    # asynchronous, since else the primary names other standbys at once, and writes its pg_hba anew with them
    g = Group(stage, mode="async", failover={"mode": "assisted"}).begin().create()
    wait_for_trouble(g, "west-1", "")
    wait_for_trouble(g, "north-1", "")
    hba = g.data["west"] / "fulmar.hba"
    before = hba.read_text()
    hba.write_text(before.replace("replication fulmar_replication", "replication somebody"))
    check_equal(g.sql("west", "select pg_reload_conf()"), "t", "pg_hba is read")
    reconnect(g, "west", "fulmar_replication")
    wait_for_trouble(g, "north-1", "no pg_hba.conf entry for replication connection")
    hba.write_text(before)
    check_equal(g.sql("west", "select pg_reload_conf()"), "t", "pg_hba is read")
    wait_for_trouble(g, "north-1", "")
    subprocess.run(g.psql("west", "-c", "alter role fulmar_admin password 'another'"), env=g.env, check=True,
                   capture_output=True, timeout=30)
    g.env["PGPASSWORD"] = "another"
    reconnect(g, "west", "fulmar_admin")
    wait_for_trouble(g, "west-1", "password authentication failed")
    check("! PostgreSQL lets nobody in" in g.fulmar("group", "status").stdout, "the table does not say it")
    g.kill("north-1")
    wait_for_trouble(g, "north-1", "its agent cannot be reached")
    lines = [line for line in g.fulmar("group", "status").stdout.splitlines() if line.startswith("  north-1 ")]
    check("(standby)" in lines[0], f"what it said last is shown as if it were so: {lines}")


def test_variables_of_libpq_do_not_reach_the_server(stage):
    """Whoever starts the agents may have a password in the environment: a standby goes by its own."""
    g = Group(stage)
    foreign = {"PGPASSWORD": "of-somebody-else", "PGSSLMODE": "verify-full", "PGPORT": "1"}
    os.environ.update(foreign)
    try:
        g.begin().create()
    finally:
        for name in foreign:
            del os.environ[name]
    g.wait_for_redundancy("west")


def test_a_wrong_password_is_said_before_it_is_needed(stage):
    """A standby that gets a wrong password follows on, and `group status` says that it would not be let in again; when its
    connection breaks it says why it receives nothing, and no move goes there. With the right one it follows again."""
    g = Group(stage, mode="async", failover={"mode": "assisted"}).begin().create()
    wait_for_trouble(g, "north-1", "")
    conf, before = json.loads(g.conf.read_text()), g.conf.read_text()
    wrong = stage.write("wrong", "another\n")
    wrong.chmod(0o600)
    conf["groups"]["ledger"]["users"]["replication"]["password-file"] = str(wrong)
    g.conf.write_text(json.dumps(conf))
    g.processes["north-1"].signal(signal.SIGHUP)
    wait_for_trouble(g, "north-1", "its primary would not let it in again: ")
    g.conf.write_text(before)
    wait_for_trouble(g, "north-1", "password authentication failed")
    check_equal(g.sql("west", "select state from pg_stat_replication where application_name = 'north-1'"), "streaming", "north")
    reconnect(g, "west", "fulmar_replication")
    wait_for_trouble(g, "north-1", "it receives nothing from its primary: ")
    wait_for_trouble(g, "north-1", "password authentication failed")
    wait_until_refused(g, "west-1", "north", "north-1: it receives nothing from the primary")
    no = g.order("west-1", "move", 409, context="ledger", to="north")
    check_equal((no["rule"], no["evidence"]), ("ready", "north-1: it receives nothing from the primary"), f"the refusal {no}")
    g.processes["north-1"].signal(signal.SIGHUP)
    wait_for_trouble(g, "north-1", "")
    g.wait_for_states(west="primary", north="standby")


def test_status_says_that_a_port_is_taken(stage):
    """PostgreSQL that does not get one of its addresses is not left running without it, says so in `group status`, and
    gets on when the address is free; so does one of another version."""
    g = Group(stage)
    conf = json.loads(g.conf.read_text())
    conf["dial"] = {"north-1": {"postgres": "127.0.0.3"}}
    g.conf.write_text(json.dumps(conf))
    g.begin()
    with socket.create_server(("127.0.0.1", g.port["north"])):
        g.fulmar("group", "create", "ledger", "--reason", "a test", "--timeout", "10s")
        wait_for_trouble(g, "north-1", f"cannot listen on 127.0.0.1:{g.port['north']} (another process listens there): "
                         "Address already in use")
        wait_until("PostgreSQL without one of its addresses is ended", lambda: not g.postgres_of("north"), PATIENCE_S)
    g.wait_for_states(west="primary", north="standby")
    wait_for_trouble(g, "north-1", "")
    g.processes["north-1"].stop()
    with socket.create_server(("127.0.0.3", g.port["north"])):
        g.start("north-1")
        wait_for_trouble(g, "north-1", f"cannot listen on 127.0.0.3:{g.port['north']}")
    g.wait_for_states(west="primary", north="standby")
    g.processes["north-1"].stop()
    g.processes["west-1"].stop()  # whom north would copy
    version = g.data["north"] / "PG_VERSION"
    version.write_text("13\n" if version.read_text() == "14\n" else "14\n")
    g.start("north-1")
    wait_for_trouble(g, "north-1", f", and the data are of {version.read_text().strip()}")
    wait_until("its state is `unable`", lambda: g.node("north").get("state") == "unable", PATIENCE_S)


def test_passwords_and_programs_change(stage):
    """Another password and other programs take a reload; PostgreSQL runs all the while. What cannot be read, or is of
    another version, is refused by name."""
    g = Group(stage, lease=LONG_LEASE).begin().create()
    began = {r: g.sql(r, "select pg_postmaster_start_time()") for r in g.nodes}
    secret = stage.path("secret")

    def reload():
        for node in g.nodes.values():
            g.processes[node].signal(signal.SIGHUP)

    secret.write_text("another\n")
    subprocess.run(g.psql("west", "-c", "alter role fulmar_admin password 'another'"), env=g.env, check=True,
                   capture_output=True, timeout=30)
    g.env["PGPASSWORD"] = "another"
    reload()
    for node in g.nodes.values():
        wait_until(f"{node} has read it", lambda n=node: '"event":"database_passwords_read"' in g.processes[n].output(),
                   PATIENCE_S)
    for region in ("west", "north"):
        wait_until("the new password is there", lambda r=region: g.sql(r, "select 1") == "1", PATIENCE_S)
        reconnect(g, region, "fulmar_admin")
    reconnect(g, "west", "fulmar_replication")
    g.wait_for_states(west="primary", north="standby")
    wait_until("north streams", lambda: g.sql("west", "select count(*) from pg_stat_replication where state = 'streaming' "
                                              "and application_name = 'north-1'") == "1", PATIENCE_S)
    for node in g.nodes.values():
        wait_for_trouble(g, node, "")

    secret.chmod(0o644)
    reload()
    wait_until("it is refused", lambda: "others may read it" in json.dumps(g.status("west-1")), PATIENCE_S)
    secret.chmod(0o600)
    bin_dir = stage.path("bin")
    bin_dir.mkdir()
    stage.write("bin/postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n").chmod(0o755)
    conf = json.loads(g.conf.read_text())
    conf["groups"]["ledger"]["bin"] = str(bin_dir)
    g.conf.write_text(json.dumps(conf))
    reload()
    wait_for_trouble(g, "north-1", "`bin` is of PostgreSQL 99, and the data are of ")
    real = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))[-1]
    bin_dir.rename(stage.path("old"))
    bin_dir.symlink_to(real)
    reload()
    wait_for_trouble(g, "north-1", "")
    check_equal({r: g.sql(r, "select pg_postmaster_start_time()") for r in g.nodes}, began, "when PostgreSQL was started")


def test_planned_move(stage):
    """A planned move under load loses nothing; the old primary follows the new one, and back again. Commands wait for the
    new primary: not one fails, and none comes to an application before it is open."""
    g = Group(stage)
    c = Commands(g)
    g.begin().create()
    c.start()
    w = Writer(g)
    w.wait_for_more()
    for here, there in (("west", "north"), ("north", "west")):
        g.wait_for_redundancy(here)
        g.wait_for_heir(there)
        at = time.monotonic()
        ident = g.order(g.nodes[here], "move", 202, context="ledger", to=there)["id"]
        g.wait_for_op(g.nodes[here], ident, "done")
        g.wait_for_states(**{there: "primary", here: "standby"})
        w.wait_for_more()
        c.wait_for_more(there)
        print(f"# {here} to {there}: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    c.stop(epochs=3)
    said = [e for n in g.nodes.values() for e in g.authority(n)["events"] if e["what"] == "data" and e["to"] == "open"]
    check(len(said) >= 2 and all("they waited" in e["evidence"] for e in said), f"what is recorded of commands that waited: {said}")
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

    def another(killed=pid):
        try:
            now = int((g.data["west"] / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return now if now != killed and now in g.postgres_of("west") else None

    pid = wait_until("another postmaster runs", another, PATIENCE_S)
    w.wait_for_more()
    g.wait_for_states(west="primary", north="standby")
    os.kill(pid, signal.SIGSTOP)
    wait_until("it is killed", lambda: pid not in g.postgres_of("west"), PATIENCE_S)
    at = time.monotonic()
    w.wait_for_more()
    print(f"# postmaster stopped: {w.longest_gap(at):.3f} s without an acknowledged write", flush=True)
    w.stop()
    primary = wait_until("somebody is primary",
                         lambda: next((r for r, s in g.states().items() if s == "primary"), None), PATIENCE_S)
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
