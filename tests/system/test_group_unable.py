#!/usr/bin/env python3
"""Nodes of a PostgreSQL group whose server cannot be started, with real agents and real PostgreSQL: programs that are
not there, cannot be executed, or are of another version, or data that cannot be read. Does the agent say so and go on with
what else it does, and does the group go on elsewhere, by itself or by an order?"""

import json
import signal

import lib
import postgres
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S
from test_group import Group, Writer, trouble_of, wait_for_trouble, wait_until_refused


def with_bin(g, folder):
    """Where the programs are, by the file; None: it does not say."""
    conf = json.loads(g.conf.read_text())
    conf["groups"]["ledger"].pop("bin", None)
    if folder:
        conf["groups"]["ledger"]["bin"] = str(folder)
    g.conf.write_text(json.dumps(conf))


def programs(stage, name, text, mode=0o755):
    """All of the real ones, but for the server."""
    folder = stage.path(name)
    folder.mkdir(mode=0o755)
    for program in postgres.bin_dir().iterdir():
        if program.name != "postgres":
            (folder / program.name).symlink_to(program)
    stage.write(f"{name}/postgres", text).chmod(mode)
    return folder


def start_broken(g, name, folder):
    """Its agent begins anew, and finds such programs; the file is mended for whoever reads it next."""
    g.processes[name].stop()
    with_bin(g, folder)
    g.start(name)
    region = g.hosts[name]["region"]
    wait_until(f"{name} says that it cannot", lambda: g.node(region).get("state") == "unable", PATIENCE_S, every=0.05)


def cell_of(g, name):
    return next(iter(g.cells(name)), {})


def events_of(g, name, what):
    return [e for e in g.authority(name)["events"] if e["what"] == what]


def test_a_primary_that_cannot_be_started_goes_on_elsewhere_by_an_order(stage):
    """The folder of programs is not there. A reload refuses it; an agent that begins anew says so, keeps its gate and its
    controller, and gives the group up. A move is refused, a failover by a person ends, and nothing is lost. When the
    programs are there again the node follows."""
    g = Group(stage, failover={"mode": "assisted"}).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    nowhere = stage.path("nowhere")
    with_bin(g, nowhere)
    g.processes["west-1"].signal(signal.SIGHUP)
    refusal = f"there is no PostgreSQL in {nowhere}"
    wait_until("the reload is refused", lambda: refusal in json.dumps(g.status("west-1")), PATIENCE_S)
    w.wait_for_more()
    start_broken(g, "west-1", nowhere)
    with_bin(g, None)
    check(refusal in g.processes["west-1"].output(), "the log does not say it")
    wait_for_trouble(g, "west-1", refusal)
    wait_until("west gives it up", lambda: cell_of(g, "north-1").get("state") == "yielded", PATIENCE_S)
    check_equal([e["why"] for e in events_of(g, "west-1", "yield")], ["said"], "why it was given up")
    check(g.authority("west-1")["contexts"]["ledger"]["own"]["chain"] == "hold", "its controller")
    shown = [x for x in g.fulmar("group", "status", "ledger").stdout.splitlines() if x.startswith("  west-1 ")]
    check("unable" in shown[0], f"what is shown of the node: {shown}")
    moved = g.fulmar("move", "ledger", "--to", "north", "--reason", "a test", "-o", "json")
    check_equal((moved.returncode, json.loads(moved.stdout)["rule"]), (3, "given-up"), "the move")
    done = g.fulmar("failover", "ledger", "--to", "north", "--reason", "a test", "--timeout", "30s")
    check_equal(done.returncode, 0, f"exit code of failover: {done.stdout} {done.stderr}")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    w.wait_for_more()
    said = g.processes["west-1"].output().count('"database_unable"')
    check_equal(said, 1, "how often the log says that it cannot")
    g.processes["west-1"].signal(signal.SIGHUP)
    g.wait_for_states(north="primary", west="standby")
    wait_for_trouble(g, "west-1", "")
    g.wait_for_redundancy("north")
    w.stop()
    g.check_nothing_lost(w, "north")


def test_programs_that_do_not_fit_go_on_elsewhere_by_themselves(stage):
    """A server that may not be executed, then one of another version, each at the primary: the other region goes on by
    itself, since the node says so, and not since nobody would hear of it."""
    g = Group(stage, failover={"grace": "40s"}).begin().create()
    w = Writer(g)
    w.wait_for_more()
    version = "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n"
    for here, there, folder, words in (
            ("west", "north", programs(stage, "locked", version, 0o644), "there is no PostgreSQL in "),
            ("north", "west", programs(stage, "future", version), "`bin` is of PostgreSQL 99, and the data are of ")):
        g.wait_for_redundancy(here)
        start_broken(g, g.nodes[here], folder)
        with_bin(g, None)
        wait_for_trouble(g, g.nodes[here], words)
        wait_until(f"{there} is primary", lambda r=there: g.node(r).get("state") == "primary", PATIENCE_S)
        check_equal([e["why"] for e in events_of(g, g.nodes[here], "yield")], ["said"], "why it was given up")
        w.wait_for_more()
        g.processes[g.nodes[here]].signal(signal.SIGHUP)
        g.wait_for_states(**{there: "primary", here: "standby"})
    w.stop()
    g.check_nothing_lost(w, "west")


def test_data_that_cannot_be_read_are_waited_for_and_not_for_ever(stage):
    """The control file of the primary is gone when its agent begins anew: the other region goes on; when the file is back the
    node follows."""
    g = Group(stage, failover={"grace": "40s"}).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    g.processes["west-1"].stop()
    control = g.data["west"] / "global" / "pg_control"
    control.rename(control.with_name("away"))
    g.start("west-1")
    wait_until("it says that it cannot", lambda: g.node("west").get("state") == "unable", PATIENCE_S, every=0.05)
    wait_for_trouble(g, "west-1", "pg_controldata")
    wait_until("north is primary", lambda: g.node("north").get("state") == "primary", PATIENCE_S)
    check_equal([e["why"] for e in events_of(g, "west-1", "yield")], ["said"], "why it was given up")
    w.wait_for_more()
    control.with_name("away").rename(control)
    g.wait_for_states(north="primary", west="standby")
    w.stop()
    g.check_nothing_lost(w, "north")


def test_a_standby_that_cannot_be_started_is_no_heir(stage):
    """It says so, and nobody moves to it; the primary goes on."""
    g = Group(stage).begin().create()
    w = Writer(g)
    w.wait_for_more()
    g.wait_for_redundancy("west")
    start_broken(g, "north-1", stage.path("nowhere"))
    with_bin(g, None)
    wait_until("west goes on without it", lambda: g.node("west").get("promotable") == 0, PATIENCE_S)
    w.wait_for_more()
    wait_until_refused(g, "west-1", "north", "north-1: it does not stand by, and is unable")
    moved = g.fulmar("move", "ledger", "--to", "north", "--reason", "a test", "-o", "json")
    check_equal(moved.returncode, 3, f"exit code of a move to a node that cannot be started: {moved.stdout}")
    no = json.loads(moved.stdout)
    check_equal((no["rule"], no["evidence"]), ("ready", "north-1: it does not stand by, and is unable"), f"the refusal {no}")
    check("group status" in no["remedy"], no)
    w.wait_for_more()
    check_equal(g.node("west").get("state"), "primary", "the primary")
    check(trouble_of(g, "north-1"), "nobody says why")
    g.processes["north-1"].signal(signal.SIGHUP)
    g.wait_for_states(west="primary", north="standby")
    w.stop()
    g.check_nothing_lost(w, "west")


def test_a_holder_that_lives_and_does_badly_is_asked_to_let_go(stage):
    """The application of west is dead, and all else there lives, so that its lease is renewed: a failover that a person
    orders ends all the same, without a rule that is overridden."""
    g = Group(stage, failover={"mode": "assisted"}).begin().create()
    g.wait_for_redundancy("west")
    g.apps["west"].kill()
    quoted = wait_until("nobody sees west well", lambda: (lambda q: q if q["evidence"]["healthy_by"] == 0 else None)(json.loads(
        g.fulmar("quote", "ledger", "--to", "north", "-o", "json").stdout)), PATIENCE_S)
    done = g.fulmar("failover", "ledger", "--to", "north", "--accept-loss", quoted["quote"], "--confirm", "ledger",
                    "--reason", "a test", "--timeout", "30s")
    check_equal(done.returncode, 0, f"exit code of failover: {done.stdout} {done.stderr}")
    g.wait_for_states(north="primary", west="standby")
    check_equal([e["why"] for e in events_of(g, "west-1", "yield")], ["asked"], "why it was given up")


if __name__ == "__main__":
    lib.main(globals())
