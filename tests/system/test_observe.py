#!/usr/bin/env python3
"""What an edge lets others see: the access log, metrics, /status, and `fulmar status`."""

import json
import os
import re
import subprocess

import lib
import world
from lib import check, check_equal, wait_until

QUIET = {"probe": {"app": "none"}, "retry": {"hedge-after": "never"}}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


class Logged:
    """An edge with an access log in a file."""

    def __init__(self, stage, sample=None, serve=world.Exchange.tell):
        self.path = stage.path("access.log")
        log = {"path": str(self.path), **({"sample": sample} if sample else {})}
        self.origin = world.Origin(stage, serve, "app")
        self.edge = world.Edge(stage, {"west": [self.origin.port]}, {"shop": {
            **world.KEYED, "routes": ["/shop/{id}/**"]}}, edge={"access-log": log}, **QUIET)

    @staticmethod
    def lines(path):
        return [json.loads(text) for text in lib.whole_lines(path).splitlines()]

    def wait_lines(self, n):
        return wait_until(f"{n} lines are in the log", lambda: len(found := self.lines(self.path)) >= n
                          and found)


def many(edge, n, path="/shop/1"):
    """n requests on one connection; their Fulmar-Refs."""
    refs = []
    with lib.Client(edge.port) as client:
        for i in range(n):
            client.send(f"GET {path}?n={i} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            refs.append(client.response().header("fulmar-ref"))
    return refs


# -------- the access log --------


def test_access_log(stage):
    """A line a request, with what it was and what became of it; never the query."""
    logged = Logged(stage, serve=lambda e: e.answer(b"hello", "503 Busy" if "bad" in e.target else "200 OK"))
    trace = "0af7651916cd43dd8448eb211c80319c"
    asked = [("GET", "/shop/7/cart?secret=x", 200), ("POST", "/shop/8", 200), ("HEAD", "/shop/9", 200),
             ("PUT", "/shop/bad", 503), ("GET", "/nowhere?secret=y", 404), ("DELETE", "/shop/a'%22\\b", 200)]
    refs = []
    for method, path, status in asked:
        answer = lib.request(logged.edge.port, method, path,
                             [("traceparent", f"00-{trace}-b7ad6b7169203331-01")])
        check_equal(answer.status, status, f"{method} {path}")
        refs.append(answer.header("fulmar-ref"))
    found = {line["ref"]: line for line in logged.wait_lines(len(asked))}  # workers take turns
    check_equal(set(found), set(refs), "refs in the log")
    check("secret" not in logged.path.read_text(), "a query is in the log")
    for ref, (method, path, status) in zip(refs, asked):
        line, path = found[ref], path.partition("?")[0]
        check_equal((line["method"], line["path"], line["status"], line["client"]),
                    (method, path, status, "127.0.0.1"), f"of {path}")
        check(TIME.match(line["time"]) and line["duration_ms"] >= 0, f"times of {line}")
        if status == 404:
            check_equal((line["region"], line["problem"]), (None, "no-route"), "of what has no route")
            check("context" not in line, "a context of what has no route")
        else:
            check_equal((line["context"], line["route"], line["region"], line["tries"], line["trace"]),
                        ("shop", "/shop/{id}/**", "west", 1, trace), path)
            check(line["bytes_out"] > 0, "bytes_out")


def test_sample(stage):
    """About the share that was asked for is in it."""
    logged = Logged(stage, "20%")
    refs = many(logged.edge, 1000)
    logged.edge.process.stop()  # writes what it has
    lines = logged.lines(logged.path)
    check(100 < len(lines) < 300, f"{len(lines)} of 1000 lines for 20%")  # eight sigmas
    check(all(line["ref"] in refs for line in lines), "a line of nothing")


def test_reopen(stage):
    """After a rename and SIGHUP it goes on in a new file, and no line is lost."""
    logged = Logged(stage)
    refs, files = [], []
    for i in range(5):
        refs += many(logged.edge, 50)
        files.append(stage.path(f"access.log.{i}"))
        os.rename(logged.path, files[-1])
        check_equal(logged.edge.reload()["event"], "reloaded", "reload")
        wait_until("there is a new file", logged.path.exists)
    refs += many(logged.edge, 50)
    files.append(logged.path)
    wait_until("every line is in one of the files", lambda: sorted(
        line["ref"] for file in files for line in logged.lines(file)) == sorted(refs))
    check(logged.lines(logged.path), "nothing is in the last file")
    check_equal(logged.edge.metric("access_log_lines_dropped_total"), 0, "lines dropped")


def test_log_on_stdout(stage):
    """`path: stdout` writes the lines there."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, edge={"access-log": {"path": "stdout"}}, **QUIET)
    refs = many(edge, 10)
    wait_until("they are there", lambda: all(ref in edge.process.output() for ref in refs))


# -------- metrics --------


def moved(before, after):
    """What moved between two /metrics, without what is a time."""
    return {f"{name.removeprefix('fulmar_edge_')}{dict(labels) if labels else ''}": after[name, labels] - n
            for (name, labels), n in before.items()
            if after[name, labels] != n and "seconds" not in name and not name.endswith("bytes_out_total")}


def test_counters(stage):
    """They move by exactly what was sent."""
    def serve(exchange):
        exchange.answer(b"x", "404 No" if "missing" in exchange.target else "200 OK")

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, {"shop": {**world.KEYED, "routes": ["/shop/**"]}},
                      **QUIET)
    many(edge, 1, "/shop/warm-up")
    wait_until("its connection is closed", lambda: edge.metric("connections") == 0)
    before = edge.metrics()
    many(edge, 7)                                                      # one connection, 2xx
    many(edge, 3, "/shop/missing")                                     # one connection, 4xx of the app
    many(edge, 2, "/nowhere")                                          # one connection, no route
    lib.request(edge.port, "POST", "/shop/post", body=b"hello")        # one connection, a command
    with lib.Client(edge.port) as client:                              # one connection, malformed
        client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        check_equal(client.response().status, 400, "a malformed request")
    wait_until("all are closed", lambda: edge.metric("connections") == 0)
    after = edge.metrics()
    slot = "{'context': 'shop', 'region': 'west'}"
    ok = "{'context': 'shop', 'outcome': 'ok', 'region': 'west'}"
    expected = {"connections_accepted_total": 5, "requests_total": 13, "requests_malformed_total": 1,
                "tries_total": 11, "client_bytes_in_total": 5,
                f"sent_total{slot}": 11, f"outcomes_total{ok}": 11,
                "answers_total{'class': '2xx', 'context': 'shop'}": 8,
                "answers_total{'class': '4xx', 'context': 'shop'}": 3}
    got = moved(before, after)
    upstream = got.pop("upstream_reused_total", 0) + got.pop("upstream_connects_total", 0)
    check_equal(upstream, 11, "attempts on new and on used connections")
    check_equal(got, expected, "what moved")
    sent = after["fulmar_edge_client_bytes_out_total", ()] - before["fulmar_edge_client_bytes_out_total", ()]
    check(sent > 11 * 100, f"client_bytes_out_total moved by {sent}")


def test_histogram(stage):
    """Buckets only grow, the last is the count, and the count is that of requests."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, **QUIET)
    many(edge, 25)
    wait_until("all are counted", lambda: edge.metric("latency_seconds_count", context="all") == 25)
    metrics = edge.metrics()
    buckets = sorted((float(dict(labels)["le"].replace("+Inf", "inf")), n)
                     for (name, labels), n in metrics.items()
                     if name == "fulmar_edge_latency_seconds_bucket")
    check(len(buckets) > 5, f"only {len(buckets)} buckets")
    counts = [n for _, n in buckets]
    check_equal(counts, sorted(counts), "counts of the buckets")
    check_equal(buckets[-1], (float("inf"), 25), "the last bucket")
    check(edge.metric("latency_seconds_sum", context="all") > 0, "sum")
    content = lib.get(edge.admin, "/metrics").header("content-type")
    check(content.startswith("text/plain; version=0.0.4"), f"content type {content}")


# -------- status --------


def status(edge, *options, expect=0):
    done = subprocess.run([lib.FULMAR, "status", "-c", edge.path, *options], capture_output=True,
                          text=True, timeout=60, check=False)
    check_equal(done.returncode, expect, f"exit code of status {options}, which said {done.stderr!r}")
    return done.stdout


TOP = {"schema", "role", "host", "version", "service", "generation", "started_at", "workers", "connections",
       "config", "regions", "contexts", "totals", "events"}
SLOT = {"context", "health", "reason", "why", "since", "share_permille", "in_flight", "probe", "last_second",
        "intent", "serve_permille", "sent_total", "last_sent_at", "last_sent_boot_ns", "outcomes"}


def test_status(stage):
    """/status and `fulmar status` say the same: intent and health apart, why, since when."""
    west, north = world.App(stage, "west"), world.App(stage, "north")
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"interval": "100ms"},
                      retry=QUIET["retry"])
    doc = edge.status()
    check(TOP <= set(doc), f"missing in /status: {TOP - set(doc)}")
    check_equal(doc["schema"], "fulmar.status/1", "schema")
    check(TIME.match(doc["started_at"]), "started_at")
    for region in doc["regions"]:
        check_equal(region["intent"], "serve", "intent")
        check_equal(set(region["contexts"][0]), SLOT, "keys of a region and context")
        check_equal(region["contexts"][0]["last_sent_at"], None, "last_sent_at before the first request")
    many(edge, 5)
    wait_until("all are counted", lambda: edge.status()["contexts"][0]["queries_total"] == 5)
    said = json.loads(status(edge, "-o", "json"))
    check_equal(set(said), set(doc), "keys of fulmar status -o json")
    check_equal([(r["region"], r["contexts"][0]["sent_total"]) for r in said["regions"]],
                [("west", 5), ("north", 0)], "requests sent, by region")
    check(TIME.match(said["regions"][0]["contexts"][0]["last_sent_at"]), "last_sent_at")
    check_equal(said["contexts"][0]["queries_total"], 5, "queries_total")
    by_address = subprocess.run([lib.FULMAR, "status", "--server", f"127.0.0.1:{edge.admin}", "-o", "json"],
                                capture_output=True, text=True, timeout=60, check=True)
    check_equal(set(json.loads(by_address.stdout)), set(doc), "keys by --server")

    wait_until("all is well", lambda: all(r["contexts"][0]["health"] == "up" for r in edge.status()["regions"]))
    status(edge, "--check")
    table = status(edge)
    rows = [line.split() for line in table.splitlines() if line.startswith(("west", "north"))]
    check_equal([row[:4] for row in rows], [["west", "serve", "all", "up"], ["north", "serve", "all", "up"]],
                "rows of the table")
    check("north" not in status(edge, "west").split("Last events")[0], "another region than was asked for")
    status(edge, "nowhere", expect=64)

    north.kill()
    wait_until("north is down", lambda: edge.slot("north")["health"] == "down")
    status(edge, "--check", expect=2)
    slot = edge.slot("north")
    check(slot["reason"] in ("unreachable", "probes-fail") and "refused" in slot["probe"], f"why: {slot}")
    check_equal(slot["share_permille"], 0, "share")
    event = edge.status()["events"][-1]
    check_equal((event["region"], event["to"]), ("north", "down"), "the last event")
    check("down" in status(edge), "the table does not say down")
    check_equal(edge.metric("health_share_permille", region="north", context="all"), 0, "the same in /metrics")
    log = [line for line in edge.log("health_changed") if line["region"] == "north"]
    check_equal((log[-1]["to"], log[-1]["context"]), ("down", "all"), "the same in the log")

    edge.process.stop()
    status(edge, expect=69)


def test_pages(stage):
    """The admin address only reads, knows its pages and nothing else, and serves nobody's traffic."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, **QUIET)
    for path in ("/status", "/metrics", "/health/live"):
        check_equal(lib.get(edge.admin, path).status, 200, path)
        check_equal(lib.request(edge.admin, "HEAD", path).status, 200, f"HEAD {path}")
        check_equal(lib.request(edge.admin, "POST", path, body=b"x").status, 405, f"POST {path}")
        check_equal(edge.get(path).json()["target"], path, f"{path} as traffic")
    check_equal(lib.get(edge.admin, "/").status, 404, "another path")
    check_equal(edge.metric("requests_total"), 3, "requests_total: pages are no requests")


if __name__ == "__main__":
    lib.main(globals())
