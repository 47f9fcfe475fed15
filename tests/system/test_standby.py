#!/usr/bin/env python3
"""A standby app that is stopped until it is needed: the commands that start, check and stop it, with real agents.

Does the app run when the right to write arrives, and is it stopped when nobody needs it; do a command that fails,
one that hangs and an agent that dies in the middle of one end as they have to?"""

import threading
import time

import lib
from lib import check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm, old_is_well

SCRIPT = """\
#!/bin/sh
cd {dir} || exit 9
echo "$1 $FULMAR_SERVICE $FULMAR_CONTEXT $FULMAR_REGION $FULMAR_HOST" >>calls
while [ -e "$1-hangs" ]; do sleep 0.02; done
if [ -e "$1-fails" ]; then echo "Unit site not found." >&2; exit 3; fi
case $1 in
start) touch up;;
stop) rm -f up;;
esac
echo "done $1" >>calls
"""


class Site(Realm):
    """The app of north runs while the file `up` is there, as a service manager would do it."""

    def __init__(self, stage, mode="assisted", check_command=False, **standby):
        script = stage.write("service", SCRIPT.format(dir=stage.dir))
        script.chmod(0o755)
        commands = {what: [str(script), what] for what in ("start", "stop", *(["check"] if check_command else []))}
        super().__init__(stage, failover={"mode": mode}, standby={**commands, **standby})
        self.runs = self.managing = True
        self.ends = threading.Event()
        self._manage()
        self.manager = threading.Thread(target=self._manager, daemon=True)
        self.manager.start()
        stage.on_end(self._end_managing)

    def _manage(self):
        wanted = self.stage.path("up").exists()
        if wanted != self.runs:
            self.apps["north"].listen() if wanted else self.apps["north"].kill()
            self.runs = wanted

    def _manager(self):
        while not self.ends.wait(0.02):
            if self.managing:
                self._manage()

    def _end_managing(self):
        self.ends.set()
        self.manager.join()

    # -------- looking --------

    def calls(self, what=None):
        lines = lib.whole_lines(self.stage.path("calls")).splitlines()
        return [line for line in lines if not what or line.split()[0] == what]

    def standby(self):
        return self.authority("north-1").get("contexts", {}).get("ledger", {}).get("standby") or {}

    def failover(self):
        """The state of the failover from west, as north sees it."""
        found = self.authority("north-1").get("contexts", {}).get("ledger", {}).get("failover", {})
        return found.get("west", {"state": "steady"})

    def wait_state(self, state, seconds=PATIENCE_S):
        wait_until(f"the standby is {state}", lambda: self.standby().get("state") == state, seconds, every=0.02)

    def wait_failover(self, state):
        try:
            wait_until(f"the failover is {state}", lambda: self.failover()["state"] == state, PATIENCE_S, every=0.02)
        except lib.Failure as failure:
            raise lib.Failure(f"{failure}; it is {self.failover()}, the standby {self.standby()}") from None

    def events(self):
        return [e for e in self.authority("north-1").get("events", []) if e["what"] == "standby"]

    def settle(self):
        """North knows that west is well, and is settled itself."""
        def settled():
            a = self.authority("north-1")
            return a and "ledger" in a["votes"].get("west", {}).get("well", []) and \
                a["contexts"]["ledger"]["own"]["chain"] == "hold"
        wait_until("north is settled", settled, PATIENCE_S, every=0.05)
        return self

    def touch(self, name, there=True):
        if there:
            self.stage.path(name).touch()
        else:
            self.stage.path(name).unlink()


def began(stage, **options):
    site = Site(stage, **options).begin().settle()
    check_equal((site.calls(), site.standby()["state"], site.standby()["may_be_running"]), ([], "stopped", False),
                "before anything happened")
    return site


def test_an_outage_prepares_and_its_end_stands_down(stage):
    """West dies: the app of north is started, it asks; west is back: the app is stopped, nothing has moved."""
    site = began(stage)
    site.kill("west-1")
    site.wait_failover("asking")
    check_equal(site.calls(), ["start bank ledger north north-1", "done start"], "calls")
    check_equal((site.standby()["state"], site.standby()["may_be_running"]), ("ready", True), "standby")
    check(site.runs, "the app does not run")
    site.start("west-1")
    site.wait_failover("steady")
    site.wait_state("stopped")
    check_equal(site.calls("stop")[0], "stop bank ledger north north-1", "calls")
    check(not site.standby()["may_be_running"], "it is still recorded")
    check_equal(site.wait_for("ledger", "west"), 1, "epoch: nobody took anything")
    ways = [e["to"] for e in site.events()]  # a busy machine may lose and find west once more
    check_equal(ways[:5], ["noting", "starting", "waiting", "ready", "stopping"], "events")
    check_equal(ways[-2:], ["stopped-and-noting", "stopped"], "the last events")
    site.judge()


def test_a_person_completes_and_the_app_stays_until_it_is_home_again(stage):
    """One order prepares and completes; the app is not stopped while north holds, and is after the failback."""
    site = began(stage, mode="manual", check_command=True)
    site.kill("west-1")
    wait_until("west is lost", lambda: site.authority("north-1")["votes"]["west"]["lost"], PATIENCE_S)
    check_equal(site.calls(), [], "calls: a person prepares")
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north")
    site.wait_for_op("north-1", op["id"], "done")
    check_equal(site.wait_for("ledger", "north"), 2, "epoch")
    check_equal([c.split()[0] for c in site.calls()[:3]], ["start", "done", "check"], "calls")
    site.start("west-1")
    wait_until("west is well", lambda: old_is_well(site, "west", "north"), PATIENCE_S)
    time.sleep(5)  # longer than it lingers
    check_equal((site.calls("stop"), site.standby()["state"]), ([], "ready"), "while north holds")
    op = site.order("north-1", "failback", 202, context="ledger")
    site.wait_for_op("north-1", op["id"], "done")
    check_equal(site.wait_for("ledger", "west"), 3, "epoch")
    site.wait_state("stopped")
    check_equal(len(site.calls("stop")), 1, "stops")
    site.judge()


def test_a_command_that_fails_stops_the_preparation_and_says_why(stage):
    """Exit code 3: the order has failed with the output; what is tried again works."""
    site = began(stage, mode="manual")
    site.kill("west-1")
    wait_until("west is lost", lambda: site.authority("north-1")["votes"]["west"]["lost"], PATIENCE_S)
    site.touch("start-fails")
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="prepare")
    op = site.wait_for_op("north-1", op["id"], "failed")
    check("exit code 3" in op["text"] and "Unit site not found." in op["text"], op)
    check_equal((site.failover()["state"], site.failover()["why"]), ("asking", "not-ready"), "failover")
    failed = [e for e in site.events() if e["to"] == "failed"]
    check(len(failed) == 1 and "Unit site not found." in failed[0]["evidence"], failed)
    check_equal(site.standby()["last"]["output"], "Unit site not found.\n", "output")
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="complete")
    op = site.wait_for_op("north-1", op["id"], "refused")
    check("not ready" in op["text"], op)
    check_equal(site.calls("done"), [], "calls")
    site.touch("start-fails", False)
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="prepare")
    site.wait_for_op("north-1", op["id"], "done")
    check_equal(site.standby()["state"], "ready", "standby")
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="stand-down")
    site.wait_for_op("north-1", op["id"], "done")
    site.wait_state("stopped")
    check_equal(site.holders(), {}, "holders")
    site.judge()


def test_a_command_that_hangs_is_killed(stage):
    """After `timeout`; an app that starts and is not well within `ready-within` has failed, too."""
    site = began(stage, timeout="1s", **{"ready-within": "1s"})
    site.touch("start-hangs")
    site.kill("west-1")
    site.wait_failover("asking")
    check_equal((site.failover()["why"], site.standby()["state"]), ("not-ready", "failed"), "failover")
    check("did not end within 1000 ms and was killed" in site.standby()["last"]["why"], site.standby())
    site.touch("start-hangs", False)
    site.managing = False  # from now on nothing that is started comes up
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="prepare")
    op = site.wait_for_op("north-1", op["id"], "failed")
    check("no gate of the region could serve it in time" in op["text"], op)
    site.managing = True
    site.judge()


def test_an_agent_that_dies_in_the_middle_goes_on(stage):
    """kill -9 while `start` runs: the next life runs it again; while `stop` runs: the same."""
    site = began(stage)
    site.touch("start-hangs")
    site.kill("west-1")
    wait_until("it is being started", lambda: len(site.calls("start")) == 1, PATIENCE_S)
    site.kill("north-1")
    site.touch("start-hangs", False)
    site.start("north-1")
    site.wait_failover("asking")
    check_equal((len(site.calls("start")), site.standby()["state"]), (2, "ready"), "starts and state")
    site.touch("stop-hangs")
    site.start("west-1")
    wait_until("it is being stopped", lambda: len(site.calls("stop")) == 1, PATIENCE_S)
    check_equal(site.standby()["state"], "stopping", "state")
    site.kill("north-1")
    check(site.runs, "it is stopped already")
    site.touch("stop-hangs", False)
    site.start("north-1")
    wait_until("it is stopped", lambda: not site.runs, PATIENCE_S)
    site.wait_state("stopped")
    check_equal((len(site.calls("start")), len(site.calls("stop"))), (2, 2), "starts and stops")
    site.judge()


def test_an_agent_that_starts_while_its_region_holds_starts_the_app(stage):
    """The whole region that took over was restarted: nobody else would start its app."""
    site = began(stage, mode="automatic")
    site.kill("west-1")
    check_equal(site.wait_for("ledger", "north"), 2, "epoch")
    site.kill("north-1")
    site.touch("up", False)
    wait_until("the app is down", lambda: not site.runs)
    site.start("north-1")
    wait_until("the app runs", lambda: site.runs, PATIENCE_S)
    site.wait_state("ready")
    check_equal((len(site.calls("start")), site.calls("stop")), (2, []), "calls")
    site.judge()


def test_what_is_prepared_for_a_planned_move_stays(stage):
    """While all is well a person prepares, moves the context, moves it back, and stands down."""
    site = began(stage)
    refused = site.order("north-1", "move", 409, context="ledger", to="north")
    check_equal(refused["rule"], "ready", "a move to a stopped app")
    op = site.order_until("north-1", "failover", 202, context="ledger", to="north", step="prepare")
    site.wait_for_op("north-1", op["id"], "done")
    time.sleep(5)  # the holder is well all the time
    check_equal((site.failover()["state"], site.standby()["state"]), ("prepared", "ready"), "prepared")
    op = site.order("north-1", "move", 202, context="ledger", to="north")
    site.wait_for_op("north-1", op["id"], "done")
    site.wait_failover("failed-over")
    op = site.order("north-1", "move", 202, context="ledger", to="west")
    site.wait_for_op("north-1", op["id"], "done")
    site.wait_failover("steady")
    site.wait_state("stopped")
    check_equal((len(site.calls("start")), len(site.calls("stop"))), (1, 1), "starts and stops")
    check_equal(site.wait_for("ledger", "west"), 3, "epoch")
    site.judge()


if __name__ == "__main__":
    lib.main(globals())
