#!/usr/bin/env python3
"""Which region, context and app a request goes to, and what the edge does to its headers."""

import collections
import re

import lib
import world
from lib import check, check_equal, wait_until

QUIET = {"probe": {"app": "none"}, "retry": {"hedge-after": "never"}}


def origins(stage, *names, serve=world.Exchange.tell):
    return [world.Origin(stage, serve, name) for name in names]


def regions_of(*listed, **more):
    """A region for each origin, all alike but for the keys that `more` has for some."""
    return {o.name: world.region(1, [o.port], **more.get(o.name, {})) for o in listed}


class Asker:
    """Many requests on one connection."""

    def __init__(self, stage, port, source="127.0.0.1"):
        self._client = lib.Client(port, timeout=60, source=source)
        stage.on_end(self._client.close)

    def ask(self, path="/", headers=(), method="GET", host="test"):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in headers), "", ""]
        self._client.send("\r\n".join(lines).encode("latin-1"))
        return self._client.response(method)

    def region(self, *request, **more):
        answer = self.ask(*request, **more)
        check_equal(answer.status, 200, f"answer to {request}")
        return answer.header("fulmar-region")

    def regions(self, n):
        return collections.Counter(self.region() for _ in range(n))


# -------- regions --------


def test_priority(stage):
    """All of it goes to the lowest priority; what is equal shares."""
    a, b, c = origins(stage, "a", "b", "c")
    conf = regions_of(a, b, c)
    conf["c"]["priority"] = 2
    edge = world.Edge(stage, conf, **QUIET)
    got = Asker(stage, edge.port).regions(400)
    check(set(got) == {"a", "b"} and min(got.values()) > 100, f"regions {dict(got)}")


def test_weight(stage):
    """By weight, whatever the priority."""
    a, b = origins(stage, "a", "b")
    conf = regions_of(a, b, a={"weight": 75}, b={"weight": 25})
    conf["a"]["priority"] = 3
    edge = world.Edge(stage, conf, routing={"by": "weight"}, **QUIET)
    got = Asker(stage, edge.port).regions(1200)
    check(780 <= got["a"] <= 1020, f"{got['a']} of 1200 for a weight of 75%")  # nine sigmas


def test_latency(stage):
    """The nearest gets it; what is within the band shares."""
    def slow(exchange):
        world.sleep(0.08)
        exchange.tell()

    near, = origins(stage, "near")
    far, = origins(stage, "far", serve=slow)
    edge = world.Edge(stage, regions_of(far, near), routing={"by": "latency", "band": "20ms"},
                      edge={"workers": 1}, **QUIET)
    asker = Asker(stage, edge.port)
    asker.regions(60)  # learns
    got = asker.regions(200)
    check(got["near"] >= 190, f"regions {dict(got)} with a band of 20 ms")
    edge.conf["routing"]["band"] = "5s"
    edge.write()
    edge.reload()
    got = asker.regions(60)
    check(min(got["near"], got["far"]) >= 5, f"regions {dict(got)} with a band of 5 s")


def sticky_edge(stage, how, routes=("/**",)):
    listed = origins(stage, "a", "b", "c")
    context = {"topology": "multi-write", "routes": list(routes), "sticky": how}
    return listed, world.Edge(stage, regions_of(*listed), {"all": context}, **QUIET)


def check_sticky(stage, how, request, routes=("/**",)):
    """`request(key)` gives path, headers and source of a key."""
    listed, edge = sticky_edge(stage, how, routes)
    askers = {}

    def region(key):
        path, headers, source = request(key)
        if source not in askers:
            askers[source] = Asker(stage, edge.port, source)
        return askers[source].region(path, headers)

    keys = range(40)
    home = {key: region(key) for key in keys}
    check_equal(set(home.values()), {"a", "b", "c"}, "homes of the keys")
    for _ in range(5):
        check_equal({key: region(key) for key in keys}, home, "homes of the keys, asked again")
    edge.conf["regions"].pop(listed[1].name)
    edge.write()
    edge.reload()
    wait_until("the region has gone", lambda: "b" not in {region(key) for key in keys})
    moved = {key: region(key) for key in keys}
    check_equal({k: r for k, r in moved.items() if home[k] != "b"},
                {k: r for k, r in home.items() if r != "b"}, "homes of keys whose region stayed")


def test_sticky_header(stage):
    """The same value of a header stays in its region; when one goes, only its own keys move."""
    check_sticky(stage, {"header": "X-User"}, lambda k: ("/", [("x-user", f"user-{k}")], "127.0.0.1"))


def test_sticky_cookie(stage):
    """The same for a cookie, wherever it stands among others."""
    check_sticky(stage, {"cookie": "session"}, lambda k: (
        "/", [("Cookie", f"a=1; session=s{k}; b=2")], "127.0.0.1"))


def test_sticky_path(stage):
    """The same for a segment of the path."""
    check_sticky(stage, {"path": "id"}, lambda k: (f"/user/{k}/x", [], "127.0.0.1"), ["/user/{id}/**"])


def test_sticky_client(stage):
    """The same for the network of the client: its last bits do not count."""
    turn = iter(range(100000))
    check_sticky(stage, {"client": 24}, lambda k: ("/", [], f"127.0.{k}.{1 + next(turn) % 2}"))


# -------- contexts --------


def pools(stage, contexts):
    """An edge with a pool of its own for each context, so that the answer tells which it was."""
    listed = origins(stage, *contexts)
    apps = {o.name: [f"127.0.0.1:{o.port}"] for o in listed}
    full = {name: {"topology": "multi-write", "app": name, **c} for name, c in contexts.items()}
    edge = world.Edge(stage, {"west": {"apps": apps}}, full, **QUIET)
    asker = Asker(stage, edge.port)

    def context(path, method="GET", host="test"):
        answer = asker.ask(path, (), method, host)
        if answer.status == 404:
            check_equal(answer.json()["type"], "urn:fulmar:no-route", f"404 for {path}")
        return answer.json()["origin"] if answer.status == 200 else answer.status

    return context


def check_contexts(context, cases):
    for request, expected in cases:
        request = request if isinstance(request, tuple) else (request,)
        check_equal(context(*request), expected, f"context of {request}")


def test_most_specific_route_wins(stage):
    """A literal before {name} before **, then a method; whatever the order in the file."""
    context = pools(stage, {
        "rest": {"routes": ["/api/**"]},
        "named": {"routes": ["/api/{id}"]},
        "deep": {"routes": ["/api/{id}/x/**"]},
        "literal": {"routes": ["/api/me"]},
        "method": {"routes": [{"path": "/api/me", "methods": ["PUT"]}]}})
    check_contexts(context, [
        ("/api/me", "literal"), (("/api/me", "PUT"), "method"), ("/api/you", "named"),
        ("/api/you/x", "deep"), ("/api/you/x/y/z", "deep"), ("/api/me/x", "deep"),
        ("/api/you/y", "rest"), ("/api", "rest"), ("/api/me?x=/api/you", "literal"),
        ("/", 404), ("/apis", 404), ("/API/me", 404)])


def test_hosts(stage):
    """A host before a wildcard, the longest first, before any; compared before the path."""
    context = pools(stage, {
        "any": {"routes": ["/**", "/exact/path"]},
        "wild": {"routes": ["/**"], "hosts": ["*.example"]},
        "longer": {"routes": ["/**"], "hosts": ["*.api.example"]},
        "exact": {"routes": ["/only/**"], "hosts": ["www.example"]}})
    check_contexts(context, [
        (("/x", "GET", "other"), "any"), (("/exact/path", "GET", "a.example"), "wild"),
        (("/x", "GET", "a.b.example"), "wild"), (("/x", "GET", "v1.api.example"), "longer"),
        (("/only/x", "GET", "www.example"), "exact"), (("/only/x", "GET", "WWW.Example:8080"), "exact"),
        (("/only/x", "GET", "www.example."), "exact"), (("/x", "GET", "example"), "any")])


def test_paths_are_normalised(stage):
    """//, ., .., escapes and encoded slashes lead where the plain path does; broken ones are 400."""
    context = pools(stage, {"admin": {"routes": ["/admin/**"]}, "open": {"routes": ["/open/**"]}})
    check_contexts(context, [
        ("/admin/x", "admin"), ("//admin//x", "admin"), ("/./admin/x", "admin"),
        ("/open/../admin/x", "admin"), ("/open/%2e%2e/admin", "admin"), ("/open%2f..%2fadmin", "admin"),
        ("/%61dmin/x", "admin"), ("/admin%2Fx", "admin"), ("/open/./x", "open"),
        ("/admin/../open/x", "open"), ("/../open/x", 400), ("/open/%zz", 400), ("/open/%", 400),
        ("/open/..%2f..%2fx", 400)])


def test_the_target_is_sent_on_as_it_came(stage):
    """Matching normalises, forwarding does not: the app sees what the client wrote."""
    origin, = origins(stage, "a")
    edge = world.Edge(stage, regions_of(origin), **QUIET)
    asker = Asker(stage, edge.port)
    for target in ("/a/b?q=1&r=%20", "/a%20b//c/./d", "/%7Euser?", "/x?y?z"):
        check_equal(asker.ask(target).json()["target"], target, "target at the app")
    check_equal(asker.ask("http://other.example/abs?x").json()["target"], "/abs?x", "an absolute target")


# -------- names --------


def test_names(stage):
    """A pool by name serves; a name that does not exist does no harm, and is told."""
    origin, = origins(stage, "named")
    edge = world.Edge(stage, {
        "west": {"priority": 2, "apps": {"app": {"dns": f"localhost:{origin.port}", "refresh": "1s"}}},
        "north": {"priority": 1, "apps": {"app": {"dns": "no-such-host.invalid:80"}}}},
        {"all": {**world.KEYED, "app": "app"}})
    wait_until("it serves by name", lambda: edge.get().status == 200, seconds=60)
    for method in ("GET", "POST"):
        answer = lib.request(edge.port, method, "/", timeout=60)
        check_equal((answer.status, answer.header("fulmar-region")), (200, "west"), method)
    endpoints = {r["region"]: [e["address"] for e in r["endpoints"]] for r in edge.status()["regions"]}
    check(f"127.0.0.1:{origin.port}" in endpoints["west"], f"endpoints {endpoints}")
    check_equal(endpoints["north"], [], "endpoints of a name that does not exist")
    wait_until("it is told", lambda: edge.log("name_not_found"), seconds=60)


# -------- headers --------


def seen_headers(answer):
    """What the origin saw, by name; several of a name are joined."""
    headers = {}
    for name, value in answer.json()["headers"]:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def one_region(stage, **edge):
    origin, = origins(stage, "a")
    made = world.Edge(stage, regions_of(origin), edge=edge, **QUIET)
    return made, lambda headers, source="127.0.0.1", **more: Asker(stage, made.port, source).ask(
        "/", headers, **more)


REF = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{11}$")
TRACE = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def test_forwarding_headers(stage):
    """Via, Forwarded and X-Forwarded-*: those of a client are replaced, of trusted ones continued."""
    edge, ask = one_region(stage, **{"trust-forwarded": ["127.0.9.0/24"]})
    sent = [("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "shop.example"), ("Forwarded", "for=203.0.113.5"), ("Via", "1.0 before")]
    for source, expected in (
            ("127.0.0.1", {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http",
                           "x-forwarded-host": "test",
                           "forwarded": 'for=127.0.0.1;host="test";proto=http'}),
            ("127.0.9.8", {"x-forwarded-for": "203.0.113.5, 127.0.9.8", "x-forwarded-proto": "https",
                           "x-forwarded-host": "shop.example",
                           "forwarded": 'for=203.0.113.5, for=127.0.9.8;host="test";proto=http'})):
        answer = ask(sent, source)
        seen = seen_headers(answer)
        check_equal({n: seen[n] for n in expected}, expected, f"headers for {source}")
        check_equal(seen["via"], "1.0 before, 1.1 fulmar", "Via at the app")
        check_equal(answer.header("via"), "1.1 fulmar", "Via of the answer")
    check_equal(edge.metric("requests_total"), 2, "requests")


def test_own_headers(stage):
    """The Fulmar- family from outside is dropped; the edge sets its own; traces are continued."""
    edge, ask = one_region(stage)
    lies = [("Fulmar-Ref", "00000000-00000000000"), ("Fulmar-Deadline", "1"), ("Fulmar-Mode", "override"),
            ("Fulmar-Region", "moon"), ("Fulmar-Authority", "a/1@2"), ("Fulmar-Whatever", "x"),
            ("fulmar-problem", "overloaded")]
    answer = ask(lies)
    seen = seen_headers(answer)
    own = {n: v for n, v in seen.items() if n.startswith("fulmar-")}
    check_equal(set(own), {"fulmar-ref", "fulmar-deadline"}, "Fulmar- headers at the app")
    check(REF.match(own["fulmar-ref"]) and own["fulmar-ref"] != lies[0][1], f"Fulmar-Ref {own}")
    check(1 < int(own["fulmar-deadline"]) <= 10000, f"Fulmar-Deadline {own}")
    check_equal(answer.header("fulmar-ref"), own["fulmar-ref"], "Fulmar-Ref of the answer")
    check_equal(answer.header("fulmar-region"), "a", "Fulmar-Region of the answer")
    refs = {ask([]).header("fulmar-ref") for _ in range(20)}
    check_equal(len(refs), 20, "different Fulmar-Refs of 20 requests")

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    check_equal(seen_headers(ask([("traceparent", trace)]))["traceparent"], trace, "a trace")
    for broken in ("00-0af7-1-01", trace.upper(), trace.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)):
        new = seen_headers(ask([("traceparent", broken)]))["traceparent"]
        check(TRACE.match(new) and new != broken, f"a trace in place of {broken}: {new}")
    check(TRACE.match(seen_headers(ask([]))["traceparent"]), "a trace where there was none")


def test_lies_of_an_app(stage):
    """What an app answers of the Fulmar- family is dropped: it can neither excuse nor rename itself."""
    def serve(exchange):
        exchange.answer(b"x", "503 Busy", [("Fulmar-Problem", "overloaded"), ("Fulmar-Ref", "lie"),
                                           ("Fulmar-Region", "moon"), ("Fulmar-Mode", "x")])

    a, b = origins(stage, "a", "b", serve=serve)
    edge = world.Edge(stage, regions_of(a, b), **QUIET)
    answer = lib.request(edge.port, "POST", "/", body=b"")
    check_equal(answer.status, 503, "answer to a command")
    check_equal(len(a.seen) + len(b.seen), 1, "times the command was tried: its refusal is not believed")
    check(answer.header("fulmar-region") in ("a", "b"), "Fulmar-Region")
    check(REF.match(answer.header("fulmar-ref")), "Fulmar-Ref")
    check_equal([answer.header(n) for n in ("fulmar-problem", "fulmar-mode")], [None, None], "others")


def test_hop_by_hop(stage):
    """What is meant for one hop ends there, and nothing else does."""
    _, ask = one_region(stage)
    answer = ask([("Connection", "X-Mine, keep-alive"), ("X-Mine", "1"), ("Keep-Alive", "timeout=5"),
                  ("TE", "trailers"), ("Proxy-Connection", "keep-alive"), ("X-Other", "2"),
                  ("Accept", "a/b"), ("accept", "c/d"), ("Cookie", "a=1"), ("Authorization", "Basic x"),
                  ("X-Latin", "caf\xe9"), ("X-Empty", "")])
    seen = seen_headers(answer)
    for gone in ("connection", "x-mine", "keep-alive", "te", "proxy-connection"):
        check(gone not in seen, f"{gone} was passed on")
    check_equal({n: seen.get(n) for n in ("x-other", "accept", "cookie", "authorization", "x-latin", "x-empty")},
                {"x-other": "2", "accept": "a/b, c/d", "cookie": "a=1", "authorization": "Basic x",
                 "x-latin": "caf\xe9", "x-empty": ""}, "what should arrive")


if __name__ == "__main__":
    lib.main(globals())
