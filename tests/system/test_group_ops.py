#!/usr/bin/env python3
"""What people do to a PostgreSQL group: a copy made anew, a node left alone for a while, a primary that died and comes
back, a move whose old primary does not stop."""

import json
import os
import signal
import socket
import subprocess
import time

import lib
import postgres
from lib import check, check_equal, wait_until
from processes import descendants, is_alive
from test_authority import PATIENCE_S, host, old_is_well
from test_group import Group, Writer, wait_until_refused

COPY_S = 60.0


def order(g, *words, wanted=0):
    """A command about the group; its document."""
    done = g.fulmar("group", *words, "--reason", "a test", "--timeout", f"{COPY_S:.0f}s", "-o", "json")
    check_equal(done.returncode, wanted, f"exit code of group {' '.join(words)}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def status_of(g, node):
    return json.loads(g.fulmar("group", "status", "ledger", "-o", "json").stdout)["groups"]["ledger"]["nodes"].get(node) or {}


def kill_all(g, region):
    """As if the power were gone: nobody has time to end in order."""
    agent = g.processes[g.nodes[region]]
    pids = set(descendants(agent.pid)) | set(g.postgres_of(region))
    for how in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
    agent.kill()


def test_reinit(stage):
    """The data of a standby are thrown away and copied anew; those of the primary are not, whoever asks."""
    g = Group(stage).begin().create()
    g.wait_for_redundancy("west")
    mark = g.data["north"] / "pg_wal" / "of-before"
    mark.write_text("x")
    refused = order(g, "reinit", "ledger", "west-1", wanted=3)
    check_equal(refused["rule"], "writer", "the rule")
    check("fulmar move" in refused["remedy"], refused)
    check_equal(order(g, "reinit", "ledger", "east-1", wanted=64)["rule"], "unknown-node", "the rule")
    planned = g.fulmar("group", "reinit", "ledger", "north-1", "--dry-run", "-o", "json")
    check_equal(planned.returncode, 2, f"exit code of a dry run: {planned.stdout} {planned.stderr}")
    check(mark.exists(), "a dry run has changed something")
    done = order(g, "reinit", "ledger", "north-1")
    check_equal((done["kind"], done["node"], done["state"]), ("reinit", "north-1", "done"), "the operation")
    check(not mark.exists(), "the data are those of before")
    g.wait_for_states(west="primary", north="standby")
    g.wait_for_redundancy("west")


def test_maintain(stage):
    """A node that is left to a person: PostgreSQL there is not started, also by an agent that begins anew, until the
    person is done. The primary is refused."""
    g = Group(stage).begin().create()
    g.wait_for_redundancy("west")
    check_equal(order(g, "maintain", "ledger", "west-1", "on", wanted=3)["rule"], "writer", "the rule")
    check_equal(order(g, "maintain", "ledger", "north-1", "off", wanted=3)["rule"], "not-maintained", "the rule")
    order(g, "maintain", "ledger", "north-1", "on")
    wait_until("the status says it", lambda: status_of(g, "north-1").get("state") == "maintained", PATIENCE_S)
    check_equal(g.sql("north", "select pg_is_in_recovery()"), "t", "PostgreSQL goes on")
    os.kill(int((g.data["north"] / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
    wait_until("PostgreSQL has ended", lambda: not g.postgres_of("north"), PATIENCE_S)
    g.kill("north-1")
    g.start("north-1")
    wait_until("it is left alone", lambda: g.node("north").get("state") == "maintained", PATIENCE_S)
    time.sleep(2)  # longer than any of its pauses
    check_equal(g.postgres_of("north"), [], "PostgreSQL of a node that is left to a person")
    w = Writer(g)
    w.wait_for_more()
    order(g, "maintain", "ledger", "north-1", "off")
    g.wait_for_states(west="primary", north="standby")
    g.wait_for_redundancy("west")
    w.stop()
    g.check_nothing_lost(w, "west")


def test_nobody_takes_over_to_a_maintained_node(stage):
    """A region whose only node is left to a person: a planned move there is refused at once; an evacuation asks for some
    time, says once in the events and in the operation what it waits for, and fails. The old primary goes on."""
    g = Group(stage).begin().create()
    g.wait_for_redundancy("west")
    order(g, "maintain", "ledger", "north-1", "on")
    w = Writer(g)
    w.wait_for_more()
    wait_until_refused(g, "west-1", "north", "north-1: it is left to a person")
    no = g.order("west-1", "move", 409, context="ledger", to="north")
    check_equal((no["rule"], no["evidence"]), ("ready", "north-1: it is left to a person"), f"the refusal {no}")
    check("group maintain" in no["remedy"], no)
    ident = g.order("west-1", "evacuate", 202, region="west")["id"]
    wait_until("it says what it waits for", lambda: "left to a person" in g.op("west-1", ident).get("text", ""), PATIENCE_S)
    g.wait_for_op("west-1", ident, "failed")
    moves = [(e["from"], e["to"]) for e in g.authority("west-1")["events"] if e["what"] == "move"]
    check_equal(moves, [("idle", "asked"), ("asked", "idle")], "what is said of the tries")
    w.wait_for_more()
    check_equal(g.node("west").get("state"), "primary", "the old primary")
    w.stop()
    g.check_nothing_lost(w, "west")


def test_power_lost(stage):
    """The primary and all that is around it is killed at once; it is rewound, not copied, and follows again."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    kill_all(g, "west")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    w.wait_for_more()
    at = time.monotonic()
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")
    g.wait_for_redundancy("north")
    print(f"# back as a standby after {time.monotonic() - at:.1f} s", flush=True)
    ways = [json.loads(x) for x in g.processes["west-1"].output().splitlines() if '"database_operation"' in x]
    ways = [(x["operation"], x["ok"], x["way"]) for x in ways if x["operation"] in ("rewind", "clone")]
    if '"to":"resuming"' in g.processes["north-1"].output():  # a busy machine took its lease, and so its PostgreSQL
        check(ways[-1] in (("rewind", True, "rewound"), ("clone", True, "")), f"what was done to its data: {ways}")
    else:
        check_equal(ways, [("rewind", True, "rewound")], "what was done to its data")
    w.stop()
    g.check_nothing_lost(w, "north")


def test_log_is_bounded(stage):
    """What PostgreSQL prints is kept up to a size, while it runs, and it goes on printing."""
    g = Group(stage).begin().create()
    log = g.data["west"].with_name(g.data["west"].name + ".log")
    with open(log, "ab") as f:
        for _ in range(17):
            f.write(b"much\n" * (1024 * 1024 // 5))
    # ... though it may have been a moment before the last of it was written
    wait_until("the log is emptied", lambda: log.stat().st_size < 2 * 1024 * 1024, PATIENCE_S)
    old = log.with_name(log.name + ".1")
    check(16 * 1024 * 1024 < old.stat().st_size < 20 * 1024 * 1024, f"{old.stat().st_size} bytes are kept")
    g.sql("west", "do $$ begin raise log 'printed afterwards'; end $$")
    wait_until("it goes on printing", lambda: "printed afterwards" in log.read_text(errors="replace"), PATIENCE_S)
    check_equal(g.node("west").get("state"), "primary", "its state")


def wait_for_end(g, ident):
    """Of an operation, however it ends."""
    ends = ("done", "failed", "aborted", "refused", "partial")
    return wait_until(f"operation {ident} is over", lambda: (lambda o: o if o.get("state") in ends else None)(
        g.op("west-1", ident)), 2 * PATIENCE_S, every=0.1)


def move_with_frozen(stage, process, pid_sql):
    """A planned move while a process of the old primary hangs: PostgreSQL there does not stop in order, so nothing
    proves that the heir has all of it. The move is off, it says why, the old primary goes on, and nothing is lost."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    g.wait_for_heir("north")
    pid = wait_until(f"a {process} runs", lambda: g.sql("west", pid_sql), PATIENCE_S)
    os.kill(int(pid), signal.SIGSTOP)
    at = time.monotonic()
    ident = g.order("west-1", "move", 202, context="ledger", to="north")["id"]
    op = wait_for_end(g, ident)
    print(f"# {process} frozen: {op['state']} after {time.monotonic() - at:.1f} s: {op['text']}", flush=True)
    try:
        os.kill(int(pid), signal.SIGCONT)
    except ProcessLookupError:
        pass
    here, there = ("north", "west") if op["state"] == "done" else ("west", "north")
    check(op["state"] == "done" or op["text"], f"it does not say why: {op}")
    g.wait_for_states(**{here: "primary", there: "standby"})
    w.wait_for_more()
    print(f"# {w.longest_gap(at):.1f} s without an acknowledged write", flush=True)
    w.stop()
    g.check_nothing_lost(w, here)


def test_move_with_a_frozen_checkpointer(stage):
    """The old primary cannot write its last checkpoint: the move ends without a loss, and says how."""
    move_with_frozen(stage, "checkpointer", "select pid from pg_stat_activity where backend_type = 'checkpointer'")


def test_move_with_a_frozen_walsender(stage):
    """The old primary cannot send its last records: the move ends without a loss, and says how."""
    move_with_frozen(stage, "walsender", "select pid from pg_stat_replication where application_name = 'north-1'")


class Growing(Group):
    """A third host with the role postgres, which is first by its name, and no node of the group yet."""

    def __init__(self, stage):
        super().__init__(stage)
        conf = json.loads(self.conf.read_text())
        self.hosts["a-1"] = conf["hosts"]["a-1"] = host("north", 2, ["gate", "health", "controller", "postgres"])
        self.door = {"read-write": lib.free_port(), "read-only": lib.free_port()}
        conf["groups"]["ledger"]["listen"] = {"read-write": {"north-1": f"127.0.0.1:{self.door['read-write']}"},
                                              "read-only": {"a-1": f"127.0.0.1:{self.door['read-only']}"}}
        self.conf.write_text(json.dumps(conf))
        self.extra = {"data": str(stage.path("pg") / "a-1"), "port": lib.free_port()}
        self.port["a"] = self.extra["port"]  # writers try it, too

    def write(self, nodes):
        conf = json.loads(self.conf.read_text())
        conf["groups"]["ledger"]["nodes"] = nodes(conf["groups"]["ledger"]["nodes"])
        self.conf.write_text(json.dumps(conf))

    def change(self, nodes):
        self.write(nodes)
        done = self.fulmar("config", "apply", "--reason", "a test")
        check_equal(done.returncode, 0, f"exit code of config apply: {done.stdout} {done.stderr}")

    def behind(self, kind):
        """The port of the PostgreSQL that a door leads to; None where it does not."""
        dsn = f"user=fulmar_admin dbname=postgres host=127.0.0.1 port={self.door[kind]}"
        done = subprocess.run(["psql", "-X", "-d", dsn, "-Atc", "select inet_server_port()"], capture_output=True, text=True,
                              check=False, env=self.env, timeout=30)
        return int(done.stdout) if done.returncode == 0 else None

    def states_shown(self):
        nodes = json.loads(self.fulmar("group", "status", "ledger", "-o", "json").stdout)["groups"]["ledger"]["nodes"]
        return {n: x["state"] for n, x in nodes.items()}


def test_nodes_come_and_go(stage):
    """A node comes in and goes again, under load and without a restart: it is the first by its name, so that the others get
    new numbers, and nobody takes one for another. What would not work is refused before anything is changed."""
    g = Growing(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    for words, rule, code in ((("add", "ledger", "north-1"), "is-node", 3), (("add", "ledger", "east-1"), "no-role", 3),
                              (("add", "ledger", "nobody"), "unknown-host", 64), (("remove", "ledger", "west-1"), "writer", 3),
                              (("remove", "ledger", "north-1"), "last-standby", 3)):
        check_equal(order(g, *words, wanted=code)["rule"], rule, f"the rule for {words}")
    g.write(lambda nodes: {**nodes, "a-1": g.extra})
    there = stage.path("pg") / "a-1"
    there.mkdir()
    (there / "of-somebody").write_text("x")
    refused = order(g, "add", "ledger", "a-1", wanted=3)
    check(refused["rule"] == "no-room" and "is not empty" in refused["evidence"], refused)
    (there / "of-somebody").unlink()
    os.chown(there, g.user.pw_uid, g.user.pw_gid)
    with socket.socket() as s:
        s.bind(("127.0.0.1", g.extra["port"]))
        s.listen()
        refused = order(g, "add", "ledger", "a-1", wanted=3)
        check(refused["rule"] == "no-room" and "port" in refused["evidence"], refused)
    wait_until("readers of another host get the standby near", lambda: g.behind("read-only") == g.port["north"], PATIENCE_S,
               every=0.2)
    added = order(g, "add", "ledger", "a-1")
    check_equal((added["kind"], added["node"], added["state"]), ("add", "a-1", "done"), "the operation")
    check_equal(json.loads(g.fulmar("config", "diff", "-o", "json").stdout)["differs"], False, "the file and what is agreed")
    wanted = {"a-1": "standby", "north-1": "standby", "west-1": "primary"}
    wait_until("the new node follows", lambda: g.states_shown() == wanted, COPY_S, every=0.2)
    wait_until("readers get the node that has come to their host", lambda: g.behind("read-only") == g.port["a"], PATIENCE_S,
               every=0.2)
    w.wait_for_more()
    g.kill("west-1")  # and everybody reads the record
    wait_until("a node of north is primary", lambda: "primary" in [
        ((g.status(n) or {}).get("groups") or {}).get("ledger", {}).get("state") for n in ("a-1", "north-1")], PATIENCE_S)
    w.wait_for_more()
    wait_until("a door leads to the primary", lambda: g.behind("read-write") in (g.port["a"], g.port["north"]), PATIENCE_S,
               every=0.2)
    g.start("west-1")
    wait_until("west follows", lambda: sorted(filter(None, g.states_shown().values())) == ["primary", "standby", "standby"],
               COPY_S, every=0.2)
    gone = next(n for n, s in g.states_shown().items() if s == "standby" and n != "west-1")
    there = g.data.get("north") if gone == "north-1" else there
    wait_until("both others count", lambda: max(bin(((g.status(n) or {}).get("groups") or {}).get("ledger", {}).get("promotable") or 0)
                                                .count("1") for n in ("a-1", "north-1")) == 2, PATIENCE_S)
    removed = order(g, "remove", "ledger", gone)
    check_equal(removed["state"], "done", "the operation")
    check(str(there) in removed["text"], removed)
    check(not (there / "postmaster.pid").exists(), "PostgreSQL runs there")
    check((there / "PG_VERSION").exists(), "its data are gone")
    wait_until("two are left, and well", lambda: sorted(map(str, g.states_shown().values())) == ["primary", "standby"],
               PATIENCE_S)
    wait_until("the door leads to the primary", lambda: g.behind("read-write") == g.port["a" if gone == "north-1" else "north"],
               PATIENCE_S, every=0.2)
    primary = "a" if gone == "north-1" else "north"
    wait_until("its slot is gone", lambda: g.sql(primary, "select count(*) from pg_replication_slots where slot_type = 'physical'")
               == "1", PATIENCE_S, every=0.2)
    w.wait_for_more()
    w.stop()
    g.check_nothing_lost(w, "north" if gone == "a-1" else "a")


def test_who_goes_is_not_copied_to_the_end(stage):
    """A node is taken out while it is copied: the copy ends at once, and it says that there are no data. The next copy begins
    anew in the same folder."""
    g = Growing(stage)
    slow, pid, programs = stage.path("slow"), stage.path("pg") / "copying", stage.path("bin")
    programs.mkdir()
    for program in postgres.bin_dir().iterdir():
        (programs / program.name).symlink_to(program)
    (programs / "pg_basebackup").unlink()
    stage.write("bin/pg_basebackup", f"""#!/bin/sh
{postgres.bin_dir()}/pg_basebackup "$@" || exit 1
if test -e {slow}; then echo $$ >{pid}; sleep 1000; fi
""").chmod(0o755)
    conf = json.loads(g.conf.read_text())
    conf["groups"]["ledger"]["bin"] = str(programs)
    g.conf.write_text(json.dumps(conf))
    g.begin().create()
    g.wait_for_redundancy("west")
    slow.write_text("")
    ident = g.order("west-1", "add", 202, context="ledger", node="a-1", **g.extra)["id"]
    copying = int(wait_until("it is copied", lambda: lib.whole_lines(pid), COPY_S))
    wait_until("its agent has answered", lambda: "a-1 is " in g.op("west-1", ident).get("text", ""), PATIENCE_S)
    for frozen, words in ((True, "nothing is heard of its agent any more"), (False, "a-1 is ")):
        g.freeze("a-1", wake=not frozen)
        wait_until(f"it says `{words}`", lambda w=words: w in g.op("west-1", ident).get("text", ""), PATIENCE_S)
    check_equal(order(g, "remove", "ledger", "a-1", wanted=3)["rule"], "one-at-a-time", "the rule while it is added")
    g.order("west-1", "abort", id=ident)
    g.wait_for_op("west-1", ident, "aborted")
    g.wait_for_redundancy("west")
    at = time.monotonic()
    removed = order(g, "remove", "ledger", "a-1")
    print(f"# removed after {time.monotonic() - at:.1f} s: {removed['text']}", flush=True)
    there = stage.path("pg") / "a-1"
    check(removed["state"] == "done" and "no whole copy" in removed["text"] and str(there) in removed["text"], removed)
    wait_until("it is copied no more", lambda: not is_alive(copying))
    check((there / "fulmar.making").exists() and not (there / "PG_VERSION").exists(), f"what is left: {list(there.iterdir())}")
    slow.unlink()
    refused = order(g, "add", "ledger", "a-1", wanted=3)  # in the usual folder, which is another one
    check(refused["rule"] == "no-room" and f"knows the node in {there} " in refused["evidence"], refused)
    g.write(lambda nodes: {**nodes, "a-1": g.extra})
    check_equal(order(g, "add", "ledger", "a-1")["state"], "done", "the operation")


def test_the_17th_name(stage):
    """A group has sixteen nodes, and an agent numbers for as many names: one more is refused with the reason before anything is
    changed. Whoever is started anew has forgotten those that have gone."""
    g = Growing(stage)
    conf = json.loads(g.conf.read_text())
    more = {f"x-{i}": {"data": str(stage.path("pg") / f"x-{i}"), "port": lib.free_port()} for i in range(14)}
    conf["hosts"].update({n: host("north", 3 + i, ["postgres"]) for i, n in enumerate(more)})  # which nobody starts
    conf["groups"]["ledger"]["nodes"].update(more)
    g.conf.write_text(json.dumps(conf))
    g.begin().create()
    g.wait_for_redundancy("west")
    a_1 = {"context": "ledger", "node": "a-1", **g.extra}
    refused = g.order("west-1", "add", 409, **a_1)
    check_equal(refused["rule"], "full", f"the rule: {refused}")
    check_equal(order(g, "remove", "ledger", "x-13")["state"], "done", "the operation")
    refused = g.order("west-1", "add", 409, **a_1)
    check_equal(refused["rule"], "names", f"the rule: {refused}")
    check("x-13" not in g.states_shown() and "a-1" not in g.states_shown(), f"the nodes: {g.states_shown()}")
    g.write(lambda nodes: {n: x for n, x in nodes.items() if n != "x-13"})
    for name in ("west-1", "north-1", "a-1"):
        g.kill(name)
        g.start(name)
        wait_until("one is primary, one follows", lambda: sorted(map(str, g.states().values())) == ["primary", "standby"], COPY_S)

    def added():  # by whoever decides, once all of them are back
        status, doc = g.ask("west-1", "POST", "/ops/add", {"reason": "a test", "by": "tester", **a_1})
        return doc["id"] if status == 202 else None
    g.wait_for_op("west-1", wait_until("it is taken in", added, PATIENCE_S), "done", COPY_S)


def test_a_keeper_that_begins_anew_goes_on_restoring(stage):
    """The agent of a region begins anew while replication to it, which was broken on purpose, is being restored: the order to
    stand down ends when a node counts again, and not before."""
    command = {"start": ["/bin/true"], "stop": ["/bin/true"]}
    g = Group(stage, failover={"mode": "assisted"}, standby={**command, "ready-within": "120s", "replication": "break"})
    g.begin().create()
    g.wait_for_redundancy("west")

    def north():
        return g.authority("north-1").get("contexts", {}).get("ledger") or {}

    def link():
        return (north().get("standby") or {}).get("replication")

    wait_until("north is settled", lambda: north().get("own", {}).get("chain") == "hold" and old_is_well(g, "west", "north"),
               PATIENCE_S)
    op = g.order("north-1", "failover", 202, context="ledger", to="north", step="prepare")
    g.wait_for_op("north-1", op["id"], "done")
    wait_until("it is broken", lambda: link() == "broken", PATIENCE_S)
    wait_until("north receives nothing", lambda: g.sql("west", "select count(*) from pg_stat_replication where application_name = "
                                                       "'north-1'") == "0", PATIENCE_S)
    wait_until("west writes alone", lambda: g.sql("west", "insert into t values (1)") is not None, PATIENCE_S)
    order(g, "maintain", "ledger", "north-1", "on")  # so that it does not count too soon
    op = g.order("north-1", "failover", 202, context="ledger", to="north", step="stand-down")
    wait_until("it is restored", lambda: link() == "restoring", PATIENCE_S)
    g.kill("north-1")
    g.start("north-1")
    wait_until("the next keeper restores it", lambda: north().get("own", {}).get("chain") == "hold" and link() == "restoring",
               PATIENCE_S)
    time.sleep(3)  # long enough to look at the order
    is_now = g.op("west-1", op["id"])
    check(is_now["state"] == "running" and "being restored" in is_now["text"], f"the order: {is_now}")
    order(g, "maintain", "ledger", "north-1", "off")
    g.wait_for_op("west-1", op["id"], "done")
    check_equal(link(), "follows", "replication")


def read_in_copy(stage, g, until, query):
    """As docs/postgresql.md tells it: what holds a lock on a table is waited for there, so a copy of the data is read."""
    data, copy, port = stage.path("pg") / "a-1", stage.path("pg") / "copy", lib.free_port()
    os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
    wait_until("PostgreSQL has ended", lambda: not (data / "postmaster.pid").exists(), PATIENCE_S)
    postgres.run(["cp", "-a", data, copy])
    options = {"port": port, "listen_addresses": "127.0.0.1", "hba_file": copy / "fulmar.hba", "primary_conninfo": "",
               "recovery_min_apply_delay": 0, "recovery_target_time": until, "recovery_target_action": "promote",
               "synchronous_standby_names": ""}
    argv = [postgres.bin_dir() / "postgres", "-D", copy]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    server = stage.start("copy", postgres.as_postgres(argv), cwd="/")
    g.port["copy"] = port
    found = wait_until("the copy answers", lambda: g.sql("copy", query), PATIENCE_S)
    del g.port["copy"]
    server.kill()
    return found


def test_a_delayed_standby(stage):
    """A node with a delay receives everything and applies it late: nothing counts on it, it is not promoted though it is the first
    by its name, and what was destroyed by mistake is still there for who stops it in time."""
    g = Growing(stage).begin().create()
    g.sql("west", "insert into t values (7)")
    g.sql("west", "create table u as select 7 as i")
    g.wait_for_redundancy("west")
    g.change(lambda nodes: {**nodes, "a-1": {**g.extra, "delay": "1h"}})
    wait_until("it follows", lambda: status_of(g, "a-1").get("streaming"), COPY_S, every=0.2)
    check_equal(g.sql("a", "show recovery_min_apply_delay"), "1h", "its delay")
    before = g.sql("west", "select clock_timestamp()")
    g.sql("west", "delete from t")
    g.sql("west", "drop table u")
    wait_until("the other standby has applied it", lambda: g.sql("north", "select count(*) from t") == "0", PATIENCE_S)
    wait_until("it has received it", lambda: g.sql("west", "select flush_lsn = pg_current_wal_flush_lsn() from "
                                                   "pg_stat_replication where application_name = 'a-1'") == "t", PATIENCE_S)
    check_equal(g.sql("a", "select i from t"), "7", "the row that was deleted by mistake")
    check_equal(status_of(g, "a-1")["state"], "catching-up", "its state")
    check("delayed 1h" in g.fulmar("group", "status", "ledger").stdout, g.fulmar("group", "status", "ledger").stdout)
    wait_until("the other one alone counts", lambda: bin(g.node("west").get("promotable") or 0).count("1") == 1, PATIENCE_S)

    order(g, "maintain", "ledger", "a-1", "on")
    check(g.sql("a", "select pg_wal_replay_pause()") is not None, "its replay cannot be paused")
    check("pause" in g.sql("a", "select pg_get_wal_replay_pause_state()"), "its replay goes on")
    check_equal(read_in_copy(stage, g, before, "select i from u"), "7", "the table that was dropped by mistake, in a copy")
    order(g, "maintain", "ledger", "a-1", "off")
    wait_until("it runs again", lambda: g.sql("a", "select i from t") == "7", PATIENCE_S)

    kill_all(g, "west")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    wait_until("the delayed one follows", lambda: (g.status("a-1") or {})["groups"]["ledger"]["state"] == "catching-up", PATIENCE_S)
    check_equal(g.sql("a", "select i from t"), "7", "the row, after the failover")


if __name__ == "__main__":
    lib.main(globals())
