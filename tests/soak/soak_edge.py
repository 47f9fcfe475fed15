#!/usr/bin/env python3
"""Minutes of full load through the edge, with reloads, and an app that dies now and then: no request
fails, and neither memory nor descriptors grow.

FULMAR_SOAK_SECONDS is how long (600)."""

import os
import pathlib
import sys
from statistics import median

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

import lib  # noqa: E402
import world  # noqa: E402
from lib import check, check_equal, wait_until  # noqa: E402

SECONDS = int(os.environ.get("FULMAR_SOAK_SECONDS", "600"))
KEYED_RATE = 100
GROWTH_KIB, GROWTH = 1024, 1.03  # of memory, between a fifth of the time and its end
GROWTH_FDS, GROWTH_FDS_SHORT = 40, 250  # spare connections to upstreams live for half a minute


class Watch:
    """What the kernel says of the edge, looked at again and again while the soak goes on."""

    def __init__(self, edge):
        self.edge, self.rss, self.fds = edge, [], []

    def look(self):
        self.rss.append(self.edge.rss_kib())
        self.fds.append(self.edge.fds())

    def check(self, seconds):
        """The first part behind the warm-up against the last one. What leaks shows in the least of
        them; the most depends on the moments at which it looked."""
        n = len(self.rss)
        check(n >= 10, f"only {n} looks")
        early, late = slice(n // 5, n // 2), slice(3 * n // 4, n)
        rss, rss_late = median(self.rss[early]), median(self.rss[late])
        fds, fds_late = min(self.fds[early]), min(self.fds[late])
        print(f"rss {rss} to {rss_late} KiB, descriptors {fds} to {fds_late}", file=sys.stderr)
        check(world.SANITIZED or rss_late <= rss * GROWTH + GROWTH_KIB,
              f"memory grew from {rss} to {rss_late} KiB")
        most = fds + (GROWTH_FDS if seconds >= 120 else GROWTH_FDS_SHORT)
        check(fds_late <= most, f"descriptors grew from {fds} to {fds_late}")


def churn(edge, number):
    """What the steady loads do not do: short connections, pages, requests that are refused."""
    check_equal(edge.get(f"/churn/{number}").status, 200, "a request on a connection of its own")
    check_equal(lib.request(edge.port, "PUT", "/churn", body=b"x" * 1000,
                            headers=[("Idempotency-Key", f"churn-{number}")]).status, 200, "a PUT")
    check(edge.status()["regions"] and edge.metrics(), "the pages")
    with lib.Client(edge.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        check_equal(client.response().status, 400, "a malformed request")
    with lib.Client(edge.port) as client:
        client.send(b"GET /half HTTP/1.1\r\nHo")


def reload(edge, number):
    """Another configuration each time: a context comes and goes, weights change."""
    some = {"topology": "multi-write", "routes": [f"/some/{number}/**"]}
    edge.conf["contexts"] = {"all": world.KEYED, **({"some": some} if number % 2 else {})}
    edge.conf["regions"]["west"]["weight"] = 1 + number % 7
    edge.write()
    check_equal(edge.reload()["event"], "reloaded", "reload")


def soak(stage, seconds):
    store = stage.path("store")
    apps = [world.App(stage, name, store=store, fast=True) for name in ("west", "other", "north", "more")]
    ports = [a.port for a in apps]
    edge = world.Edge(stage, {"west": ports[:2], "north": ports[2:]},
                      timeouts={"connect": "1s", "first-byte": "5s", "total": "30s"},
                      edge={"access-log": {"path": str(stage.path("access.log")), "sample": "1%"}})
    full = world.Load(stage, edge.port, seconds, "full", rate=0)
    keyed = world.Load(stage, edge.port, seconds, "keyed", KEYED_RATE, "POST", True)
    watch = Watch(edge)
    step = 0
    every = max(0.2, min(2.0, seconds / 60))
    while full.is_running():
        step += 1
        victim = apps[step // 8 % len(apps)]
        if step % 8 == 2:
            victim.kill()
        if step % 8 == 5:
            victim.start()
        if step % 3 == 0:
            reload(edge, step)
        churn(edge, step)
        watch.look()
        world.sleep(every)
    full.wait_all_served(60)
    keyed.wait_all_served(60)
    check_equal(edge.metric("access_log_lines_dropped_total"), 0, "access log lines dropped")
    watch.check(seconds)
    wait_until("only spare connections are left", lambda: edge.metric("connections") == 0, seconds=90)
    check_equal(sum(c["in_flight"] for r in edge.status()["regions"] for c in r["contexts"]), 0,
                "in flight at the end")


def test_edge(stage):
    """The soak: no failed request, no growth."""
    soak(stage, SECONDS)


test_edge.max_s = SECONDS + 300

if __name__ == "__main__":
    lib.main(globals())
