#!/usr/bin/env python3
"""What a PostgreSQL group loses by a forced failover, with real agents and real PostgreSQL: it is counted in the log
of the old primary, its rows are read, both are compared with pg_waldump and with what its writers know, and it stands on
a list before anything of it is thrown away."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import lib
import postgres
from lib import FULMAR, check, check_equal, wait_until
from test_authority import PATIENCE_S
from test_group import Group, Writer


class Losing(Group):
    """Nothing but the test's own sessions commits."""

    def __init__(self, stage, **replication):
        super().__init__(stage)
        conf = json.loads(self.conf.read_text())
        conf["groups"]["ledger"]["settings"]["autovacuum"] = "off"
        conf["groups"]["ledger"]["replication"] |= replication
        self.conf.write_text(json.dumps(conf))

    def items(self, node="north-1"):
        return (self.ask(node, "GET", "/groups/loss")[1] or {}).get("items", [])

    def one_item(self, **wanted):
        """The only one, when north says so of it."""
        def is_so():
            found = self.items()
            check(len(found) < 2, f"more than one item: {found}")
            return found[0] if found and all(found[0][k] == v for k, v in wanted.items()) else None
        return wait_until(f"an item with {wanted}", is_so, PATIENCE_S)

    def loss(self, *arguments):
        return subprocess.run([FULMAR, "loss", *arguments, "-c", self.conf, "--host", "north-1"], capture_output=True,
                              text=True, check=False, timeout=60)

    def wait_for_evidence(self, region):
        """Until each database has the slot by which rows can be read."""
        wait_until("rows can be recovered", lambda: (self.node(region).get("loss_recovery") or {}).get("available"), PATIENCE_S)

    def rows(self, item):
        """The transactions of an item, as people are shown them."""
        shown = self.loss("show", item["item"], "-o", "json")
        check_equal(shown.returncode, 0, f"exit code of loss show: {shown.stderr}")
        return json.loads(shown.stdout)["decoded"]

    def lose_west(self):
        self.wait_for_redundancy("west")
        self.wait_for_evidence("west")
        self.kill("west-1")
        wait_until("north is primary", lambda: self.node("north").get("state") == "primary", PATIENCE_S)
        wait_until("nothing is left in west", lambda: not self.postgres_of("west"), PATIENCE_S)

    def commits(self, folder, item):
        """Commits behind the fork, as PostgreSQL itself shows them."""
        p = subprocess.run(postgres.as_postgres([postgres.bin_dir() / "pg_waldump", "-p", folder, "-t",
                                                 item["timeline"], "-s", item["fork_lsn"]]),
                           capture_output=True, text=True, timeout=60, cwd="/", check=False)
        return len(re.findall(r"^rmgr: Transaction .*desc: COMMIT", p.stdout, re.M))

    def write_at_the_old_primary(self, texts):
        """Whoever starts its data by hand gets acknowledgements that the new history has not."""
        port = lib.free_port()
        options = [f"port={port}", "listen_addresses=127.0.0.1", "synchronous_standby_names=", f"unix_socket_directories={self.data['west'].parent}"]
        argv = [postgres.bin_dir() / "postgres", "-D", self.data["west"]]
        for o in options:
            argv += ["-c", o]
        server = self.stage.start("by-hand", postgres.as_postgres(argv), cwd="/")
        psql = ["psql", "-X", "-d", f"user=fulmar_admin dbname=postgres host=127.0.0.1 port={port}", "-Atc"]

        def sql(text):
            return subprocess.run([*psql, text], env=self.env, capture_output=True, text=True, timeout=30, check=False)

        wait_until("the old primary runs", lambda: sql("select 1").stdout == "1\n", 30)
        acknowledged = [t for t in texts if sql(t).returncode == 0]
        pid = int((self.data["west"] / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        wait_until("it has ended", lambda: not self.postgres_of("west"), 30)
        server.kill()
        return len(acknowledged)


def check_rows(item, transactions):
    """What was written at the old primary, as it can be read; that a table was made is counted alone."""
    check_equal(item["rows"], {"known": "some", "transactions": 6, "changes": 8, "opaque_transactions": 1,
                               "why": "the others changed no rows, or what cannot be decoded"}, "the rows")
    changes = [c for t in transactions for c in t["changes"]]
    check_equal([c["new"]["i"] for c in changes if c["relation"] == "public.t"], [str(1000 + i) for i in range(4)], "rows of t")
    check_equal([(c["op"], c["key"], c["new"], c.get("old")) for c in changes if c["relation"] == "public.k"], [
        ("insert", {"id": "2", "region": "west"}, {"id": "2", "region": "west", "note": "it's\tnew\n"}, None),
        ("update", {"id": "1", "region": "west"}, {"id": "1", "region": "west", "note": None}, None),
        ("delete", {"id": "2", "region": "west"}, None, {"id": "2", "region": "west"}),
        ("delete", {"id": "1", "region": "west"}, None, {"id": "1", "region": "west"})], "rows of k")
    for t in transactions:
        check(t["database"] == "postgres" and int(t["xid"]) > 0 and t["commit_lsn"] and
              item["first_commit_at"][:10] <= t["committed_at"][:10] <= item["last_commit_at"][:10], f"a transaction: {t}")


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_counted_kept_and_written_off(stage):
    """Rows that only the old primary has: pending at once, counted when it comes back, and not rewound before the
    survivor has that on its disk; a person writes them off."""
    g = Losing(stage).begin().create()
    check_equal(g.items("west-1"), [], "items of a group that has lost nothing")
    check(g.sql("west", "create table k (id int, region text, note text, primary key (id, region)); "
                "insert into k values (1, 'west', 'old')") is not None, "a table with a key")
    g.lose_west()
    pending = g.one_item(found="pending", state="open")
    check_equal((pending["node"], pending["timeline"], pending["transactions"]), ("west-1", 1, None), "the item")
    check("recovery pending" in g.loss("list", "ledger").stdout, g.loss("list").stdout)

    began = time.time()
    rows = [f"insert into t values ({1000 + i})" for i in range(4)]
    rows += ["insert into k values (2, 'west', E'it''s\\tnew\\n')", "update k set note = null where id = 1; delete from k",
             "create table late (i int)"]
    check_equal(g.write_at_the_old_primary([*rows, "begin; insert into t values (1); rollback"]), 8, "statements")
    check_equal(g.commits(g.data["west"] / "pg_wal", pending), 7, "commits behind the fork")
    ended = time.time()

    def waits():
        return "not kept by north-1" in (g.node("west").get("trouble") or "")

    full = stage.path("north-1") / "groups" / "ledger" / "losses.json.new"
    full.mkdir()  # north cannot write the item down
    g.start("west-1")
    wait_until("its data are looked at", lambda: g.postgres_of("west") or waits(), PATIENCE_S, every=0.005)
    g.kill("west-1")  # in the middle of it, or behind that where this one was slower
    wait_until("the server that looked has ended", lambda: not g.postgres_of("west"), PATIENCE_S)
    check_equal(g.commits(g.data["west"] / "pg_wal", pending), 7, "commits that are still there")
    check_equal(g.items()[0]["found"], "pending", "what north knows")

    g.start("west-1")
    wait_until("west waits with what it has", waits, PATIENCE_S)
    time.sleep(2)
    check_equal(g.node("west")["state"], "keeping", "the state of the old primary")
    check_equal(g.commits(g.data["west"] / "pg_wal", pending), 7, "commits that are still there")
    check_equal(g.items()[0]["found"], "pending", "what north has on its disk")
    full.rmdir()
    g.wait_for_states(north="primary", west="standby")

    item = g.one_item(found="counted", state="open")
    check_equal((item["item"], item["transactions"], item["prepared"]), (pending["item"], 7, 0), "what was counted")
    check(began - 1 <= when(item["first_commit_at"]) <= when(item["last_commit_at"]) <= ended + 1, f"the times: {item}")
    check_equal(g.commits(item["copy"], item), 7, "commits in the copy of the log")
    check_equal(g.sql("north", "select count(*) from t where i >= 1000"), "0", "rows that the survivor has")
    shown = g.loss("show", item["item"]).stdout
    check("7 transactions, some with rows" in shown and "update public.k" in shown, shown)
    check("1 open: 7 transactions, - changes" in g.loss("list").stdout, g.loss("list").stdout)
    check_rows(item, g.rows(item))
    wait_until("a standby has no slots", lambda: g.sql("west", "select count(*) from pg_replication_slots") == "0",
               PATIENCE_S)

    def write_off(*arguments):
        return g.loss("write-off", item["item"], *arguments)

    check_equal(write_off("--reason", "a test").returncode, 64, "without --confirm")
    check_equal(write_off("--confirm", item["item"]).returncode, 64, "without --reason")
    check_equal(write_off("--dry-run").returncode, 2, "a dry run")
    check_equal(g.items()[0]["state"], "open", "after a dry run")
    done = write_off("--confirm", item["item"], "--reason", "customers were told")
    check_equal(done.returncode, 0, f"{done.stdout}{done.stderr}")
    off = wait_until("west knows it, too", lambda: next((i for i in g.items("west-1") if i["written_off"]), None), PATIENCE_S)
    check_equal((off["state"], off["written_off"]["reason"], off["transactions"]), ("written-off", "customers were told", 7),
                "what west knows")
    check_equal(write_off("--confirm", item["item"], "--reason", "again").returncode, 3, "a second time")
    wait_until("the copy of the log is removed", lambda: not pathlib.Path(item["copy"]).exists(), PATIENCE_S)
    wait_until("that is known", lambda: g.items()[0]["copy_removed_at"], PATIENCE_S)
    check_equal(len(g.rows(item)), 7, "transactions that are still shown: one without rows")
    check_equal(g.loss("show", "ledger:west-1:1:0-1").returncode, 2, "an item that is none")
    g.kill("north-1")
    g.start("north-1")
    wait_until("north still knows it", lambda: [i["state"] for i in g.items()] == ["written-off"], PATIENCE_S)


def test_acknowledged_and_in_flight(stage):
    """A primary that may acknowledge 8 KiB beyond its standby dies when it has, and sessions wait. What was acknowledged
    and is not in the survivor is among the rows that are recovered; each of those was acknowledged, or is of unknown
    outcome; and there are as many transactions as PostgreSQL's own tool sees."""
    g = Losing(stage, mode="async", beyond="block-writes", **{"max-loss": {"bytes": "8KiB"}}).begin().create()
    g.wait_for_redundancy("west")
    g.wait_for_evidence("west")
    writers = [Writer(g, 1000000 * (i + 1)) for i in range(4)]
    for w in writers:
        w.wait_for_more(10)
    sender = int(g.sql("west", "select pid from pg_stat_replication where application_name = 'north-1'"))
    os.kill(sender, signal.SIGSTOP)  # nothing gets to the standby any more
    wait_until("commits wait for it", lambda: int(g.sql("west", "select count(*) from pg_stat_activity where wait_event = "
                                                        "'SyncRep'") or 0) > 1, PATIENCE_S)
    writers.append(Writer(g, 5000000))  # those may all have been sent before; what this one does is not
    wait_until("a commit is not sent", lambda: int(g.sql("west", "select count(*) from pg_stat_activity where wait_event = "
                                                         "'SyncRep'") or 0) > 4, PATIENCE_S)
    g.freeze("west-1")
    cut = g.postgres_of("west")
    for how in (signal.SIGSTOP, signal.SIGKILL):  # a power cut: nobody gets to send what waits, or to begin anew
        for pid in cut:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
    g.kill("west-1")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    for w in writers:
        w.running = False
    item = g.one_item(found="pending", state="open")
    there = g.commits(g.data["west"] / "pg_wal", item)
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")
    item = g.one_item(found="counted")
    for w in writers:
        w.stop()
    survived = {int(i) for i in g.sql("north", "select string_agg(i::text, ',') from t").split(",")}
    acknowledged = {n for w in writers for n, _ in w.acknowledged}
    unknown = {n for w in writers for n in w.unknown}
    recovered = {int(c["new"]["i"]) for t in g.rows(item) for c in t["changes"]}
    lost = acknowledged - survived
    print(f"# {item['transactions']} transactions behind the fork: {len(lost)} acknowledged and lost, {len(recovered)} "
          f"recovered, {len(unknown)} of unknown outcome", flush=True)
    check_equal(item["transactions"], there, "what pg_waldump counts")
    check(lost, "nothing that was acknowledged is lost: this tests nothing")
    check(lost <= recovered, f"acknowledged, lost and not recovered: {sorted(lost - recovered)[:10]}")
    check(recovered <= lost | unknown, f"recovered, and neither lost nor unknown: {sorted(recovered - lost - unknown)[:10]}")
    check(not recovered & survived, f"recovered and not lost: {sorted(recovered & survived)[:10]}")
    check_equal((item["rows"]["known"], len(recovered)), ("all", there), "what is known of the rows")
    check_equal(item["acknowledged"], "unknown", "who was acknowledged")


def test_disk_lost(stage):
    """The old primary comes back without its data: it cannot be said what they had, and that stays open. A planned
    move adds nothing."""
    g = Losing(stage).begin().create()
    g.lose_west()
    pending = g.one_item(found="pending")
    for f in g.data["west"].iterdir():
        shutil.rmtree(f) if f.is_dir() else f.unlink()
    g.start("west-1")
    g.wait_for_states(north="primary", west="standby")
    item = g.one_item(found="unreadable", state="open")
    check_equal((item["item"], item["transactions"]), (pending["item"], None), "the item")
    check("unrecoverable, at most" in g.loss("list").stdout, g.loss("list").stdout)
    g.wait_for_redundancy("north")
    g.wait_for_heir("west")
    ident = g.order("north-1", "move", 202, context="ledger", to="west")["id"]
    g.wait_for_op("north-1", ident, "done")
    g.wait_for_states(west="primary", north="standby")
    check_equal([i["item"] for i in g.items()], [item["item"]], "items after a planned move")


if __name__ == "__main__":
    lib.main(globals())
