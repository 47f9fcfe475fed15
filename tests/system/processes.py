"""What /proc says of processes. One that goes while it is looked at is not there."""

import os


def pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def stat_of(pid):
    """(its state, its parent, when it was started); None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
        return fields[0], int(fields[1]), fields[19]
    except (OSError, IndexError):
        return None


def is_alive(pid):
    """Not a zombie either."""
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def argv_of(pid):
    """Its words, as bytes."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().split(b"\0")
    except OSError:
        return []


def _folder_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def at_home_in(folder):
    """All that have it as their own: of a PostgreSQL its data directory, however they came to be."""
    return [pid for pid in pids() if _folder_of(pid) == str(folder)]


def below(folder):
    """All that are at work in it, or in a folder of it."""
    return [pid for pid in pids() if f"{_folder_of(pid)}/".startswith(f"{folder}/")]


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(c) for c in f.read().split()]
    except OSError:
        return []


def agent_below(guard):
    """The pid of the agent that a guard has started; None."""
    return next((c for c in children_of(guard) if b"agent" in argv_of(c)), None)


def descendants(top):
    """Of a process, itself among them."""
    parents = {pid: stat[1] for pid in pids() if (stat := stat_of(pid))}
    found = [top]
    for p in found:
        found += [c for c, parent in parents.items() if parent == p and c not in found]
    return found
