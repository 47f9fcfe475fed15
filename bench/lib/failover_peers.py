"""The proxies of the failover bench in front of two regions, west (first choice) and north, each at
its best configuration for it. Variants of a proxy share its name as a prefix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .peers import find, fulmar, nginx_http, nginx_main, write
from .procs import BenchError, Lab


@dataclass(frozen=True)
class Gate:
    gate: int
    peer: int
    admin: int


@dataclass(frozen=True)
class Site:
    lab: Lab
    listen: int
    west: int  # ports of the apps
    north: int
    gates: dict[str, Gate]  # by region; none: the proxy goes straight to the apps


@dataclass(frozen=True)
class Variant:
    name: str
    proxy: Callable[[Site], list[str]]
    gates: bool = False
    citizen: bool = False  # the app honours deadlines and closes its connections after a stall
    only: str = ""         # the one method that it differs for from another variant

    @property
    def ours(self) -> bool:
        return self.name.startswith("fulmar")


def _fulmar_config(site: Site) -> Path:
    hosts = [f'  bench-edge: {{region: west, roles: [edge], address: 127.0.0.1, '
             f'admin: "127.0.0.1:{site.lab.port()}"}}']
    for region, g in site.gates.items():
        hosts.append(f'  gate-{region}: {{region: {region}, roles: [gate, health], '
                     f'address: 127.0.0.1, gate: "127.0.0.1:{g.gate}", '
                     f'peer: "127.0.0.1:{g.peer}", admin: "127.0.0.1:{g.admin}"}}')
    checks = "checks: {app: {interval: 200ms, timeout: 100ms, max-age: 1s, fall: 2, rise: 3}}\n"
    needs = ""
    regions = []
    for number, (region, port) in enumerate((("west", site.west), ("north", site.north)), 1):
        check = f', checks: {{app: {{http: "http://127.0.0.1:{port}/health"}}}}' if site.gates else ""
        regions.append(f'  {region}: {{priority: {number}, apps: ["127.0.0.1:{port}"]{check}}}')
    if site.gates:
        needs = "\n    needs: [app]"
    text = f"""\
fulmar: 1
service: bench
state: "{site.lab.folder}/state/{{host}}"
hosts:
{chr(10).join(hosts)}
edge:
  workers: 1
  listen: [{{address: "127.0.0.1:{site.listen}"}}]
probe: {{app: /health, interval: 200ms, fast-interval: 50ms, timeout: 100ms, samples: 4, successes: 3, rise: 3}}
{checks if site.gates else ""}timeouts: {{connect: 100ms, first-byte: 500ms, total: 2s}}
retry: {{hedge-after: p95}}
regions:
{chr(10).join(regions)}
contexts:
  bench:
    topology: multi-write
    routes: ["/**"]
    idempotency: {{key: optional, by: app}}{needs}
"""
    return write(site.lab, "fulmar.yaml", text)


def fulmar_edge(site: Site) -> list[str]:
    return [fulmar(site.lab.build), "edge", "-c", str(_fulmar_config(site)), "--host", "bench-edge"]


def fulmar_agent(site: Site, region: str) -> list[str]:
    """Reads the file that fulmar_edge wrote."""
    return [fulmar(site.lab.build), "agent", "-c", str(site.lab.folder / "fulmar.yaml"),
            "--host", f"gate-{region}"]


def _haproxy(site: Site, marked_down: str = "", west: str = "", north: str = "backup",
             frontend: str = "") -> list[str]:
    config = write(site.lab, "haproxy.cfg", f"""\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    maxconn 8000
    option forwardfor
    option redispatch 1
    retries 3
    retry-on all-retryable-errors
    http-reuse always
    timeout connect 100ms
    timeout server 500ms
    timeout check 100ms
    timeout client 60s
    timeout http-keep-alive 300s
    timeout queue 2s
frontend f
    bind 127.0.0.1:{site.listen}
    {frontend}
    default_backend b
backend b
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 200ms fastinter 50ms fall 2 rise 2 observe layer7 on-error mark-down {marked_down}
    server west 127.0.0.1:{site.west} {west}
    server north 127.0.0.1:{site.north} {north}
""")
    return [find("haproxy"), "-db", "-f", str(config)]


def haproxy_keep(site: Site) -> list[str]:
    return _haproxy(site)


def haproxy_shutdown(site: Site) -> list[str]:
    return _haproxy(site, "on-marked-down shutdown-sessions")


def haproxy_weights(site: Site) -> list[str]:
    """A retry does not reach a backup server before the other is marked down. So north is a server
    like west and gets 1 of 257 requests also in good times."""
    return _haproxy(site, "on-marked-down shutdown-sessions", "weight 256", "weight 1")


def haproxy_safe(site: Site) -> list[str]:
    """Never repeats what may have taken effect."""
    return _haproxy(site, frontend="http-request disable-l7-retry if METH_POST")


def _nginx(site: Site, next_upstream: str) -> list[str]:
    config = write(site.lab, "nginx.conf", nginx_main(site.lab) + f"""\
http {{
{nginx_http(site.lab)}
    upstream regions {{
        server 127.0.0.1:{site.west} max_fails=2 fail_timeout=2s;
        server 127.0.0.1:{site.north} max_fails=2 fail_timeout=2s backup;
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{site.listen};
        location / {{
            proxy_pass http://regions;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_connect_timeout 100ms;
            proxy_read_timeout 500ms;
            proxy_next_upstream {next_upstream};
        }}
    }}
}}
""")
    return [find("nginx"), "-c", str(config), "-p", str(site.lab.folder)]


NEXT_UPSTREAM = "error timeout http_502 http_503 http_504"


def nginx_all(site: Site) -> list[str]:
    return _nginx(site, f"{NEXT_UPSTREAM} non_idempotent")


def nginx_safe(site: Site) -> list[str]:
    """Never repeats what may have taken effect."""
    return _nginx(site, NEXT_UPSTREAM)


VARIANTS = {v.name: v for v in (
    Variant("fulmar-direct", fulmar_edge),
    Variant("fulmar-gate-citizen", fulmar_edge, gates=True, citizen=True),
    Variant("fulmar-gate-plain", fulmar_edge, gates=True),
    Variant("haproxy-keep", haproxy_keep),
    Variant("haproxy-shutdown", haproxy_shutdown),
    Variant("haproxy-weights", haproxy_weights),
    Variant("haproxy-safe", haproxy_safe, only="post"),
    Variant("nginx-all", nginx_all),
    Variant("nginx-safe", nginx_safe, only="post"),
)}


def choose_variants(given: str) -> list[Variant]:
    """Of a comma-separated list of names or of their first words."""
    chosen: list[Variant] = []
    for name in filter(None, given.split(",")):
        found = [v for v in VARIANTS.values() if v.name == name or v.name.startswith(f"{name}-")]
        if not found:
            raise BenchError(f"unknown '{name}'; there are: {', '.join(VARIANTS)}")
        chosen += [v for v in found if v not in chosen]
    return chosen
