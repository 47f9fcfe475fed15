"""The proxies of the throughput bench, each tuned honestly for it: one worker or thread, no log,
connections kept alive on both sides, X-Forwarded-For set, no probes, no retries."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .procs import BenchError, Lab, Proc, bench_program, fulmar_program, wait_ready


@dataclass(frozen=True)
class Site:
    """Where a peer listens and whom it forwards to."""
    lab: Lab
    listen: int
    origins: list[int]


def write(lab: Lab, name: str, text: str) -> Path:
    path = lab.folder / name
    path.write_text(text)
    return path


def find(program: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError(f"{program} is not installed")
    return path


def fulmar(build: Path) -> str:
    path = fulmar_program(build)
    if path is None:
        raise BenchError(f"{build}/fulmar is missing: build first, or leave fulmar out with --peers")
    return path


def fulmar_argv(site: Site) -> list[str]:
    apps = ", ".join(f'"127.0.0.1:{p}"' for p in site.origins)
    config = write(site.lab, "fulmar.yaml", f"""\
fulmar: 1
service: bench
state: "{site.lab.folder}/state/{{host}}"
hosts:
  bench-edge: {{region: west, roles: [edge], address: 127.0.0.1, admin: "127.0.0.1:{site.lab.port()}"}}
edge:
  workers: 1
  listen: [{{address: "127.0.0.1:{site.listen}"}}]
probe: {{app: none}}
retry: {{other-regions: 0, hedge-after: never}}
regions:
  west: {{apps: [{apps}]}}
contexts:
  bench: {{topology: multi-write, routes: ["/**"]}}
""")
    return [fulmar(site.lab.build), "edge", "-c", str(config), "--host", "bench-edge"]


def haproxy_argv(site: Site) -> list[str]:
    servers = "\n".join(f"    server o{i} 127.0.0.1:{p}" for i, p in enumerate(site.origins))
    config = write(site.lab, "haproxy.cfg", f"""\
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    maxconn 8000
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 300s
    http-reuse always
frontend f
    bind 127.0.0.1:{site.listen}
    default_backend b
backend b
    balance roundrobin
{servers}
""")
    return [find("haproxy"), "-db", "-f", str(config)]


def nginx_argv(site: Site) -> list[str]:
    servers = "\n".join(f"        server 127.0.0.1:{p};" for p in site.origins)
    config = write(site.lab, "nginx.conf", nginx_main(site.lab) + f"""\
http {{
{nginx_http(site.lab)}
    upstream origins {{
{servers}
        keepalive 128;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{site.listen};
        location / {{
            proxy_pass http://origins;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_next_upstream off;
        }}
    }}
}}
""")
    return [find("nginx"), "-c", str(config), "-p", str(site.lab.folder)]


def nginx_main(lab: Lab) -> str:
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""\
{user}daemon off;
worker_processes 1;
pid {lab.folder}/nginx.pid;
error_log {lab.folder}/nginx-error.log crit;
events {{
    worker_connections 16384;
    accept_mutex off;
    multi_accept on;
}}
"""


def nginx_http(lab: Lab) -> str:
    temp = "\n".join(f"    {kind}_temp_path {lab.folder}/nginx-{kind};"
                     for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""\
    access_log off;
    sendfile on;
    tcp_nopush off;
    tcp_nodelay on;
    server_tokens off;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
{temp}"""


def bare_argv(site: Site) -> list[str]:
    return [bench_program("bench-forwarder", site.lab.build), str(site.listen),
            *map(str, site.origins)]


PEERS: dict[str, Callable[[Site], list[str]]] = {
    "fulmar": fulmar_argv,
    "haproxy": haproxy_argv,
    "nginx": nginx_argv,
    "bare": bare_argv,
}


def start_peer(name: str, site: Site, cores: set[int] | None) -> Proc:
    proc = site.lab.start(name, PEERS[name](site), cores)
    wait_ready(proc, site.listen, "/bench/ready")
    return proc


def choose(given: str, known: list[str]) -> list[str]:
    """The names of a comma-separated option."""
    names = [n for n in given.split(",") if n]
    for n in names:
        if n not in known:
            raise BenchError(f"unknown '{n}'; there are: {', '.join(known)}")
    return names
