#!/usr/bin/env python3
"""Data that Fulmar does not run itself, by commands (`groups.NAME.hooks`): the two examples of the docs.

A tree of files with real agents: does a planned move take all of it along, is a failover fenced before it promotes, and
does what fails in the middle end as it has to? A managed SQL failover group: are the calls of its client those that its
recorded replies belong to?"""

import json
import os
import shutil
import subprocess

import lib
from lib import ROOT, check, check_equal, wait_until
from test_authority import PATIENCE_S, Realm, old_is_well

STORE = ROOT / "examples/file-store/store"
SQL = ROOT / "examples/managed-sql/sql"
HOOKS = ("status", "lag", "read-only", "promote", "fence")

WRAPPER = """\
#!/bin/sh
if [ -e {dir}/$2-$1-fails ]; then echo "The $1 of $2 is not to be had." >&2; exit 3; fi
{store} {dir}/store.conf $1 || exit
case $1 in status | lag) ;; *) echo "$1 $FULMAR_REGION $FULMAR_MODE $FULMAR_FROM $FULMAR_TO $FULMAR_EPOCH" >>{dir}/calls;; esac
"""


class Files(Realm):
    """The files of two regions; nobody copies them but the hooks, and `push`, as the timer would."""

    def __init__(self, stage):
        super().__init__(stage, failover={"mode": "assisted"})
        (stage.path("store.conf")).write_text("".join(f"{r}={stage.dir}/files-{r}\n" for r in ("west", "north")))
        for region in ("west", "north"):
            (stage.path(f"files-{region}") / "tree").mkdir(parents=True)
        self.of("west", "role").write_text("primary\n")
        self.of("west", "live").symlink_to("tree")
        script = stage.write("hook", WRAPPER.format(dir=stage.dir, store=STORE))
        script.chmod(0o755)
        conf = json.loads(self.conf.read_text())
        # $2: the region that a test lets fail; each agent's own, so the words stay apart
        hooks = {name: ["/bin/sh", "-c", f'exec "$0" {name} "$FULMAR_REGION"', str(script)] for name in HOOKS}
        conf["groups"] = {"files": {"contexts": ["ledger"], "hooks": {**hooks, "timeout": "5s", "interval": "300ms"}}}
        self.conf.write_text(json.dumps(conf))

    def of(self, region, *path):
        return self.stage.path(f"files-{region}").joinpath(*path)

    def write(self, region, name, text):
        self.of(region, "live", name).write_text(text)

    def tree(self, region):
        return {p.name: p.read_text() for p in self.of(region, "tree").iterdir()}

    def push(self, region):
        done = subprocess.run([STORE, self.stage.path("store.conf"), "push"], env={**os.environ, "FULMAR_REGION": region},
                              capture_output=True, text=True, timeout=30, check=False)
        check_equal(done.returncode, 0, f"push: {done.stderr}")

    def writable(self):
        return [r for r in ("west", "north") if self.of(r, "live").is_symlink()]

    def calls(self, *names):
        lines = lib.whole_lines(self.stage.path("calls")).splitlines()
        return [line for line in lines if not names or line.split()[0] in names]

    def group(self, name="north-1"):
        doc = self.ask(name, "GET", "/groups")[1] or {}
        return doc.get("groups", {}).get("files", {})

    def taken_in(self):
        """Regions whose gates take commands: they hold, and their data are open."""
        found = []
        for name in self.processes:
            cells = ((self.status(name, 1) or {}).get("sub_leases") or {}).get("ledger", [])
            found += [self.hosts[name]["region"] for c in cells if c["holds"] and not c["closed"]]
        return found

    def settle(self, region):
        """The other side has looked at its data, and lacks nothing."""
        other = "north" if region == "west" else "west"

        def settled():
            r = self.group(f"{other}-1").get("regions", {})
            return old_is_well(self, region, other) and r.get(region, {}).get("open") and \
                r.get(other, {}).get("role") == "secondary" and r[other]["lag"] and r[other]["lag"]["bytes"] == 0
        wait_until(f"{other} has looked", settled, PATIENCE_S, every=0.05)
        return self


def test_a_tree_of_files_moves_and_fails_over(stage):
    """Planned: closed, copied, nothing missing, promoted. Forced: a person accepts an estimate, the old side is fenced
    first; what it had alone is kept."""
    site = Files(stage).begin()
    site.write("west", "a", "first")
    site.push("west")
    site.settle("west")
    check_equal((site.writable(), site.calls()), (["west"], []), "what is primary and writable needs nothing")
    # as the command said last, which is asked now and then
    wait_until("nothing would be lost", lambda: (loss := site.group()["loss_if_now"]) and
               (loss["kind"], loss["bytes"]) == ("estimate", 0), PATIENCE_S)
    metrics = lib.get(int(site.hosts["west-1"]["admin"].split(":")[1]), "/metrics").body.decode()
    check('\nfulmar_group_estimated_loss_bytes{group="files"} 0\n' in metrics, "metrics without the estimate")

    site.write("west", "b", "second, which nobody has pushed")
    op = site.order("west-1", "move", 202, context="ledger", to="north")
    site.wait_for_op("west-1", op["id"], "done")
    check_equal(site.wait_for("ledger", "north"), 2, "epoch")
    check_equal(site.calls(), ["read-only west planned west north 1", "promote north planned west north 2"], "calls")
    check_equal((site.writable(), site.tree("north")), (["north"], {"a": "first", "b": "second, which nobody has pushed"}),
                "what has moved")

    site.settle("north")
    site.write("north", "c", "third, which is lost")
    wait_until("west knows what it lacks", lambda: site.group("west-1")["loss_if_now"]["bytes"] == 20, PATIENCE_S)
    site.kill("north-1")
    wait_until("north is lost", lambda: site.authority("west-1")["votes"]["north"]["lost"], PATIENCE_S)
    refused = site.order("west-1", "failover", 409, context="ledger", to="west")
    check_equal(refused["rule"], "loss", "a failover without consent")
    quote = site.order("west-1", "quote", 200, context="ledger", to="west")
    check_equal((quote["bound_kind"], quote["loss_bytes"], quote["unbounded"]), ("estimate", 20, True), "quote")
    stage.path("west-fence-fails").touch()
    op = site.order("west-1", "failover", 202, context="ledger", to="west", quote=quote["quote"], confirm="ledger")
    wait_until("the fence fails", lambda: "is not to be had" in (site.group("west-1")["regions"]["west"]["trouble"] or ""),
               PATIENCE_S)
    check_equal((site.taken_in(), site.writable(), site.calls("fence", "promote")[1:]), ([], ["north"], []),
                "without a fence nobody writes in west")
    waits = site.authority("west-1")["contexts"]["ledger"]["waits_for"]
    check_equal((waits["why"], "not open" in waits["text"]), ("hooks", True), "what commands wait for")
    check_equal(site.op("west-1", op["id"])["state"], "running", "the order")
    stage.path("west-fence-fails").unlink()
    site.wait_for_op("west-1", op["id"], "done")
    check_equal(site.wait_for("ledger", "west"), 3, "epoch")
    wait_until("its gate takes commands", lambda: site.taken_in() == ["west"], PATIENCE_S)
    shown = subprocess.run([lib.FULMAR, "group", "status", "files", "-c", site.conf, "--host", "west-1"],
                           capture_output=True, text=True, timeout=30, check=False)
    check("epoch 3, held by west, data by hooks" in shown.stdout, f"{shown.stdout} {shown.stderr}")
    check("west           primary    yes       open" in shown.stdout, shown.stdout)
    check_equal(site.calls("fence", "promote")[1:], ["fence west forced north west 3", "promote west forced north west 3"],
                "calls")
    check_equal(site.writable(), ["west"], "who is writable")
    site.start("north-1")
    site.push("west")
    site.settle("west")
    check_equal((sorted(site.tree("north")), site.tree("west").get("c")), (["a", "b"], None), "the trees")
    lost = [p.read_text() for p in site.of("north", "lost").rglob("c")]
    check_equal(lost, ["third, which is lost"], "what north had alone")
    site.judge()


def test_a_move_that_fails_gives_the_files_back(stage):
    """`read-only` fails: the holder goes on, writable, under another epoch; an agent that dies after it: the same. A
    former holder whose files are writable without the right to is cut."""
    site = Files(stage).begin().settle("west")
    stage.path("west-lag-fails").touch()
    op = site.order("west-1", "move", 202, context="ledger", to="north")
    wait_until("west is closed", lambda: site.calls("read-only") and not site.writable(), PATIENCE_S)
    site.kill("west-1")
    stage.path("west-lag-fails").unlink()
    site.start("west-1")
    wait_until("somebody may write again", site.writable, PATIENCE_S)
    site.wait_for_op("west-1", op["id"], "done")  # whoever is keeper next carries the order out
    site.wait_for("ledger", "north")
    check_equal(site.writable(), ["north"], "who is writable")

    site.settle("north")
    site.of("west", "live").symlink_to("tree")  # somebody's hand, or a host that was asleep
    wait_until("west is cut", lambda: site.writable() == ["north"], PATIENCE_S)
    site.settle("north")
    stage.path("west-promote-fails").touch()
    op = site.order("north-1", "move", 202, context="ledger", to="west")
    wait_until("the promotion fails", lambda: "is not to be had" in (
        site.group("west-1")["regions"]["west"]["trouble"] or ""), PATIENCE_S)
    check_equal((site.taken_in(), site.op("north-1", op["id"])["state"]), ([], "running"), "nobody writes meanwhile")
    stage.path("west-promote-fails").unlink()
    site.wait_for_op("north-1", op["id"], "done")
    site.wait_for("ledger", "west")
    check_equal(site.writable(), ["west"], "who is writable")
    site.judge()


def test_a_move_that_waits_for_its_data_is_in_nobodys_way(stage):
    """A move has arrived, and its hook does not promote: hosts agree upon another configuration all the same."""
    site = Files(stage).begin().settle("west")
    stage.path("north-promote-fails").touch()
    op = site.order("west-1", "move", 202, context="ledger", to="north")
    wait_until("the promotion fails", lambda: "is not to be had" in (
        site.group()["regions"]["north"]["trouble"] or ""), PATIENCE_S)
    check_equal((site.taken_in(), site.op("west-1", op["id"])["state"]), ([], "running"), "the order")
    conf = json.loads(site.conf.read_text())
    conf["contexts"]["ledger"]["failover"]["grace"] = "1s"
    site.conf.write_text(json.dumps(conf))

    def config(*words):
        return subprocess.run([lib.FULMAR, "config", *words, "-c", site.conf, "--host", "north-1", "-o", "json"],
                              capture_output=True, text=True, timeout=60, check=False)

    done = config("apply", "--reason", "a test")
    check_equal(done.returncode, 0, f"exit code of config apply: {done.stdout} {done.stderr}")
    check_equal(json.loads(config("diff").stdout)["differs"], False, "the file and what is agreed")
    check_equal(site.op("west-1", op["id"])["state"], "running", "the order")
    stage.path("north-promote-fails").unlink()
    site.wait_for_op("west-1", op["id"], "done")
    check_equal(site.writable(), ["north"], "who is writable")
    site.judge()


# -------- managed SQL --------

REPLAY = """\
#!/usr/bin/python3 -SE
import json, os, sys
here, name = os.path.split(sys.argv[0])
state = open(here + "/state").read()
for r in json.load(open(here + "/replies.json")):
    if r["call"] == [name, *sys.argv[1:]] and state in r["in"]:
        open(here + "/state", "w").write(r.get("to", state))
        with open(here + "/calls", "a") as f:
            f.write(" ".join([name, *sys.argv[1:]]) + "\\n")
        sys.stderr.write(r.get("stderr", ""))
        out = r.get("stdout", "")
        sys.stdout.write(out if isinstance(out, str) else json.dumps(out, indent=2))
        sys.exit(r.get("exit", 0))
sys.exit(f"no reply is recorded in the state {state} for {[name, *sys.argv[1:]]}")
"""


class Cloud:
    """`az` and `sqlcmd` that answer with what is recorded, by the state that the calls have led to."""

    def __init__(self, stage, state):
        self.dir = stage.path("cloud")
        self.dir.mkdir()
        for name in ("az", "sqlcmd"):
            (self.dir / name).write_text(REPLAY)
            (self.dir / name).chmod(0o755)
        shutil.copy(SQL.parent / "replies.json", self.dir)
        (self.dir / "state").write_text(state)

    def state(self):
        return (self.dir / "state").read_text()

    def hook(self, name, region, origin="", heir="", mode="planned", code=0):
        env = {"PATH": f"{self.dir}:{os.environ['PATH']}", "FULMAR_REGION": region, "FULMAR_FROM": origin,
               "FULMAR_TO": heir, "FULMAR_MODE": mode}
        done = subprocess.run([SQL, SQL.parent / "west-north.json", name], env=env, capture_output=True, text=True,
                              timeout=60, check=False)
        check_equal(done.returncode, code, f"exit code of {name} in {region}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout) if done.stdout else done.stderr

    def calls(self):
        return (self.dir / "calls").read_text().splitlines()


def test_a_managed_sql_group_moves(stage):
    """Planned: west is closed to the application, all that it committed is waited for, north is made primary."""
    cloud = Cloud(stage, "west")
    check_equal(cloud.hook("status", "west"), {"role": "primary", "writable": True, "healthy": True}, "status of west")
    check_equal(cloud.hook("status", "north"), {"role": "secondary", "writable": False, "healthy": True}, "of north")
    check_equal(cloud.hook("lag", "north", "west", "north"), {"seconds": 2}, "lag, as the heir asks")
    cloud.hook("read-only", "west", "west", "north")
    check_equal(cloud.hook("status", "west"), {"role": "primary", "writable": False, "healthy": True}, "closed")
    cloud.hook("read-only", "west", "west", "north")
    check_equal(cloud.hook("lag", "west", "west", "north"), {"seconds": 0}, "lag, as the old side proves it")
    cloud.hook("promote", "north", "west", "north")
    check_equal(cloud.hook("status", "north"), {"role": "primary", "writable": True, "healthy": True}, "status of north")
    check_equal(cloud.hook("status", "west"), {"role": "secondary", "writable": False, "healthy": True}, "of west")
    check_equal(cloud.state(), "north", "state")
    check(not [c for c in cloud.calls() if "--allow-data-loss" in c], "a planned move that allows a loss")
    cloud.hook("promote", "north", "west", "north")  # once more changes nothing
    check_equal(len([c for c in cloud.calls() if "set-primary" in c]), 1, "calls of set-primary")


def test_a_managed_sql_group_fails_over(stage):
    """West is gone: nothing is known of the lag, the planned way fails, the fence closes the way to it, the forced way
    is taken with its consent to a loss."""
    cloud = Cloud(stage, "west-gone")
    check("cannot" in cloud.hook("lag", "north", "west", "north", code=1), "a lag of nobody")
    check("set-primary" in cloud.hook("promote", "north", "west", "north", code=1), "planned, without the old side")
    check_equal(cloud.state(), "west-gone", "state")
    cloud.hook("fence", "north", "west", "north", "forced")
    check_equal(cloud.state(), "west-fenced", "state after the fence")
    cloud.hook("promote", "north", "west", "north", "forced")
    check_equal(cloud.hook("status", "north"), {"role": "primary", "writable": True, "healthy": True}, "status of north")
    check_equal([c.split("--")[-2:] for c in cloud.calls() if "--allow-data-loss" in c], [["allow-data-loss ", "output json"]],
                "the forced call")


def test_configurations_of_the_examples(stage):
    """What the docs show is accepted, but for what it says of itself."""
    for example in ("file-store", "managed-sql"):
        done = subprocess.run([lib.FULMAR, "config", "check", ROOT / "examples" / example / "fulmar.yaml"],
                              capture_output=True, text=True, timeout=30, check=False)
        check_equal((done.returncode, done.stderr), (0, ""), f"{example}: {done.stdout}")


if __name__ == "__main__":
    lib.main(globals())
