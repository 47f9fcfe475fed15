#!/usr/bin/env python3
"""SIGHUP under live traffic: a broken file changes nothing and is told, a good one changes what it
says, and neither costs a request."""

import json
import signal
import subprocess

import lib
import world
from lib import check, check_equal, wait_until

LOAD_S = 2.5


def two_regions(stage, **options):
    west, north = world.App(stage, "west"), world.App(stage, "north")
    return west, north, world.Edge(stage, {"west": [west.port], "north": [north.port]}, **options)


def status_command(edge, *options):
    """`fulmar status` by the configuration of the edge; (exit code, stdout, stderr)."""
    done = subprocess.run([lib.FULMAR, "status", "-c", edge.path, *options], capture_output=True,
                          text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def position(edge, what):
    """LINE:COLUMN of a text in the configuration as it was written."""
    for number, line in enumerate(edge.path.read_text().splitlines(), 1):
        if what in line:
            return f"{edge.path}:{number}:{line.index(what) + 1}"
    raise lib.Failure(f"{what} is not in the file")


def check_refused(edge, where, what):
    """The last reload was refused, and everybody says so."""
    told = edge.status()["config"]["reload_error"]
    check(told and f"{where}: error: {what}" in told, f"reload_error of /status: {told}")
    code, out, err = status_command(edge)
    check_equal(code, 0, f"exit code of fulmar status, which said {err!r}")
    check(f"{where}: error: {what}" in out, f"fulmar status: {out}")
    check_equal(status_command(edge, "--check")[0], 2, "exit code of fulmar status --check")
    code, out, _ = status_command(edge, "-o", "json")
    check_equal(json.loads(out)["config"]["reload_error"], told, "reload_error of fulmar status -o json")
    found = [(line["file"], line["line"], line["column"]) for line in edge.log("config_finding")]
    file, line, column = where.rsplit(":", 2)
    check((file, int(line), int(column)) in found, f"positions in the log: {found}")


def test_broken_file_under_load(stage):
    """Broken files of several kinds: no failed request, the old configuration goes on, the error has
    its line and column everywhere."""
    _, _, edge = two_regions(stage)
    generation = edge.status()["generation"]
    get = world.Load(stage, edge.port, LOAD_S)
    keyed = world.Load(stage, edge.port, LOAD_S, "keyed", method="POST", keys=True)
    good = dict(edge.conf)
    for key, value, mark, what in (
            ("probes", {}, '"probes"', "unknown key `probes`"),
            ("service", "another", '"service"', "`service` is fixed for the life of the service"),
            ("timeouts", {"connect": "quick"}, '"quick"', "")):
        edge.conf = {**good, key: value}
        edge.write()
        check_equal(edge.reload()["event"], "reload_refused", f"reload with {key}: {value}")
        check_refused(edge, position(edge, mark), what)
    edge.path.write_text('{"fulmar": 1,\n "service": "test",\n "edge": [\n')  # cut short
    check_equal(edge.reload()["event"], "reload_refused", "reload of half a file")
    check(f"{edge.path}:" in edge.status()["config"]["reload_error"], "where the half file ends")
    get.wait_all_served()
    keyed.wait_all_served()
    check_equal(edge.status()["generation"], generation, "generation of the view")

    edge.conf = good
    edge.write()
    check_equal(edge.reload()["event"], "reloaded", "reload of the file as it was")
    check_equal(edge.status()["config"]["reload_error"], None, "reload_error after a good reload")
    wait_until("fulmar status --check says that all is well",  # where a region was busy requests have to bring it back
               lambda: edge.get().status == 200 and status_command(edge, "--check")[0] == 0, seconds=60)


def test_what_takes_a_restart(stage):
    """What waits for a restart is said as long as it does, and not when it is taken back."""
    _, _, edge = two_regions(stage)
    good = edge.conf
    other = [{"address": f"127.0.0.1:{lib.free_port()}"}]
    for conf, want in (({**good, "edge": {**good["edge"], "listen": other}}, True), (None, True), (good, False)):
        edge.conf = conf or edge.conf  # None: read once more
        edge.write()
        check_equal(edge.reload()["event"], "reloaded", "reload")
        said = edge.status()["config"]["reload_warnings"] or ""
        check_equal("`edge.listen` changed" in said, want, f"what it warns of: {said!r}")
        check_equal("`edge.listen` changed" in status_command(edge)[1], want, "what fulmar status says")


def test_good_files_under_load(stage):
    """Routes, regions and apps come and go with each reload, and no request fails."""
    west, north, edge = two_regions(stage)
    east = world.App(stage, "east")
    loads = [world.Load(stage, edge.port, LOAD_S),
             world.Load(stage, edge.port, LOAD_S, "keyed", method="POST", keys=True),
             world.Load(stage, edge.port, LOAD_S, "bare", method="POST")]

    def reload():
        edge.write()
        check_equal(edge.reload()["event"], "reloaded", "reload")

    both = {"west": world.region(2, [west.port]), "north": world.region(3, [north.port])}
    some = {"topology": "multi-write", "routes": ["/some/**"]}
    steps = 0
    while steps < 2 or any(load.is_running() for load in loads):
        steps += 1
        edge.conf["regions"] = {**both, "east": world.region(1, [east.port])}
        edge.conf["contexts"] = {"all": world.KEYED, "some": some}
        reload()
        wait_until("east serves", lambda: edge.get("/x").header("fulmar-region") == "east")
        edge.conf["regions"] = {"north": both["north"]}
        edge.conf["contexts"] = {"some": some, "all": world.KEYED}
        reload()
        wait_until("only north is left", lambda: edge.get("/some/x").header("fulmar-region") == "north")
        check_equal([r["region"] for r in edge.status()["regions"]], ["north"], "regions")
        edge.conf["regions"] = {**both, "west": world.region(2, [west.port, north.port])}
        edge.conf["contexts"] = {"all": world.KEYED}
        reload()
        check_equal(len(edge.status()["regions"][0]["endpoints"]), 2, "endpoints of west")
    for load in loads:
        load.wait_all_served()


def test_routes_change(stage):
    """What had a route has none after the reload, and the other way round."""
    origin = world.Origin(stage)
    old = {"topology": "multi-write", "routes": ["/old/**"]}
    edge = world.Edge(stage, {"west": [origin.port]}, {"old": old})
    check_equal([edge.get(p).status for p in ("/old/x", "/new/x")], [200, 404], "before")
    edge.conf["contexts"] = {"new": {"topology": "multi-write", "routes": ["/new/**"]}}
    edge.write()
    edge.reload()
    wait_until("the new routes hold", lambda: edge.get("/new/x").status == 200)
    check_equal(edge.get("/old/x").status, 404, "the old route")


def test_requests_outlive_reloads(stage):
    """A request that is under way when its region, context and app disappear is answered."""
    held = []

    def hold(exchange):
        if exchange.target == "/hold":
            held.append(exchange)
            wait_until("the test lets go", lambda: not held, seconds=60)
        exchange.answer(b"held")

    west, north = world.Origin(stage, hold, "west"), world.Origin(stage, name="north")
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]},
                      retry={"hedge-after": "never"})
    with lib.Client(edge.port, timeout=60) as client:
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until("the app has it", lambda: held)
        edge.conf["regions"] = {"north": world.region(1, [north.port])}
        edge.conf["contexts"] = {"other": world.KEYED}
        edge.write()
        for _ in range(3):
            check_equal(edge.reload()["event"], "reloaded", "reload")
        check_equal(edge.get("/").header("fulmar-region"), "north", "who serves now")
        held.clear()
        answer = client.response()
        check_equal((answer.status, answer.body), (200, b"held"), "the answer of before")
        client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(client.response().header("fulmar-region"), "north", "the next on its connection")


def test_limits_and_timeouts_change(stage):
    """Bounds of the process change with a reload, for connections that are open, too."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]})
    head = "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"X-{i}: y\r\n" for i in range(50)) + "\r\n"
    with lib.Client(edge.port) as client:
        client.send(head.encode())
        check_equal(client.response().status, 200, "50 headers of 100")
        edge.conf["edge"]["limits"] = {"headers": 20}
        edge.write()
        edge.reload()
        wait_until("the new limit holds", lambda: lib.request(
            edge.port, headers=[(f"X-{i}", "y") for i in range(50)]).status == 431)
        client.send(head.encode())
        check_equal(client.response().status, 431, "50 headers of 20, on a connection of before")


def test_reload_while_draining(stage):
    """SIGHUP behind SIGTERM, with a good and with a broken file: it still ends well, in time."""
    _, _, edge = two_regions(stage, edge={"drain": {"announce": "5s", "finish": "5s"},
                                          "ready": {"address": f"127.0.0.1:{lib.free_port()}"}})
    load = world.Load(stage, edge.port, 1)
    load.wait_all_served()
    edge.process.signal(signal.SIGTERM)
    wait_until("it drains", lambda: edge.log("draining"))
    check_equal(edge.reload()["event"], "reloaded", "reload while draining")
    edge.path.write_text("nonsense")
    check_equal(edge.reload()["event"], "reload_refused", "reload of nonsense while draining")
    check_equal(edge.process.wait(60), 0, "exit code")
    check_equal(len(edge.log("edge_stopped")), 1, "how often it said that it stopped")


def test_many_reloads(stage):
    """Signals faster than it can reload are none too many; nothing is left behind by them."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"interval": "100ms"})
    edge.reload()
    fds = edge.fds()
    for i in range(200):
        edge.process.signal(signal.SIGHUP)
        if i % 20 == 0:
            check_equal(edge.get("/").status, 200, "answer meanwhile")
    edge.reload()
    check_equal(edge.get("/").status, 200, "answer behind them")
    wait_until(f"no more than {fds} descriptors are open", lambda: edge.fds() <= fds + 2)


if __name__ == "__main__":
    lib.main(globals())
