#!/usr/bin/env python3
"""A stand-in of the commands of PBS: the name it is called by says which. It keeps a queue in the directory
`QUEUE_STANDIN` and runs the jobs: a scheduler, which is started with the first job, ends when the directory is gone."""

import fcntl
import json
import math
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = Path(os.environ.get("QUEUE_STANDIN", "/nonexistent"))
KILL_DELAY = 2.0
WAITING, OVER = ("Q", "H"), ("F", "X")


@contextmanager
def queue():
    """The state, locked; it is written back where it was changed."""
    with open(FOLDER / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = FOLDER / "queue.json"
        before = path.read_text()
        state = json.loads(before)
        yield state
        after = json.dumps(state)
        if after != before:
            path.with_suffix(".tmp").write_text(after)
            path.with_suffix(".tmp").replace(path)


def fail(text, code=1):
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(code)


def tasks_of(state, job):
    """The tasks that an id means: one, or all of an array."""
    if job in state["tasks"]:
        return [state["tasks"][job]]
    return [task for name, task in state["tasks"].items() if re.sub(r"\[\d+\]", "[]", name) == job]


def changed(task, **fields):
    task.update(fields, mtime=time.strftime("%a %b %d %H:%M:%S %Y"))


def over(task, substate, status=None):
    changed(task, state="X" if "[" in task["id"] else "F", substate=substate, status=status, pid=0)


def options(words, takes):
    """The options of a command, those that take a word by letter; and the other words."""
    found, rest = {}, []
    words = iter(words)
    for word in words:
        if word[:1] == "-" and len(word) == 2 and word[1] in takes:
            found.setdefault(word[1], []).append(next(words))
        elif word[:1] == "-":
            found.setdefault(word[1:], []).append("")
        else:
            rest.append(word)
    return found, rest


# ---- commands ----------------------------------------------------------------------------------------


def qsub(words):
    given, _ = options(words, "NJvloeqAPpr")
    script = sys.stdin.read()
    resources = dict(part.split("=", 1) for text in given.get("l", []) for part in [text])
    chunks, *chunk = resources["select"].split(":")
    cores = int(chunks) * int(dict(part.split("=") for part in chunk)["ncpus"])
    variables = dict(text.split("=", 1) for text in given.get("v", []))
    with queue() as state:
        if given.get("q", ["workq"])[0] not in state["queues"]:
            fail("Unknown queue", 170)
        first, last = (int(n) for n in given["J"][0].split("-")) if "J" in given else (0, 0)
        if len(state["tasks"]) + last - first + 1 > state["most"]:
            fail("Maximum number of jobs already in complex", 157)
        number = state["next"]
        state["next"] += 1
        name = f"{number}[].server" if "J" in given else f"{number}.server"
        for index in range(first, last + 1):
            job = name.replace("[]", f"[{index}]")
            task = state["tasks"][job] = {
                "id": job, "index": index, "cores": cores, "variables": variables, "script": script, "pid": 0,
                "name": given["N"][0], "substate": 10, "status": None, "hosts": "", "comment": "",
                "environment": dict(os.environ), "walltime": float(resources.get("walltime", 0)),
            }  # fmt: skip
            changed(task, state="Q")
        print(name)
        schedule(state)


def qselect(words):
    given, _ = options(words, "u")
    if given["u"][0] != pwd.getpwuid(os.getuid()).pw_name:
        return
    with queue() as state:
        for job in dict.fromkeys(re.sub(r"\[\d+\]", "[]", job) for job in state["tasks"]):
            if "x" in given or any(task["state"] not in OVER for task in tasks_of(state, job)):
                print(job)


def qstat(words):
    given, jobs = options(words, "F")
    with queue() as state:
        if "B" in given:
            print(json.dumps({"Server": {"server": state["server"]}}))
        elif "Q" in given:
            print(json.dumps({"Queue": {name: {} for name in state["queues"]}}))
        else:
            found = {}
            for job in jobs:
                tasks = tasks_of(state, job)
                if "[]" in job:
                    done = all(task["state"] in OVER for task in tasks)
                    found[job] = {"job_state": "F" if done else "B", "array": "True", "Variable_List": {}}
                found |= {task["id"]: shown(task) for task in tasks}
            print(json.dumps({"Jobs": found}))


def shown(task):
    fields = {"job_state": task["state"], "substate": task["substate"], "mtime": task["mtime"]}
    fields |= {"Variable_List": {"PBS_O_HOST": "login", **task["variables"]}, "comment": task["comment"]}
    fields |= {"exec_host": task["hosts"]} if task["hosts"] else {}
    return fields | ({"Exit_status": task["status"]} if task["status"] is not None else {})


def pbsnodes(_):
    with queue() as state:
        nodes = {
            name: {
                "state": node["state"],
                "comment": node["comment"],
                "resources_available": {"ncpus": node["cores"]},
                "resources_assigned": {"ncpus": node["cores"] - free(state)[name]},
            }
            for name, node in state["nodes"].items()
        }
        print(json.dumps({"nodes": nodes}))


def qdel(words):
    with queue() as state:
        for job in words:
            for task in tasks_of(state, job):
                if task["state"] in WAITING:
                    over(task, 91)
                elif task["pid"]:
                    task["substate"] = 91
                    task.setdefault("kill_at", time.time() + KILL_DELAY)
                    send(task, signal.SIGTERM)


def qsig(words):
    given, jobs = options(words, "s")
    with queue() as state:
        for job in jobs:
            for task in tasks_of(state, job):
                if task["pid"]:
                    send(task, getattr(signal, given["s"][0]))


def send(task, number):
    with suppress(ProcessLookupError):
        os.killpg(task["pid"], number)


# ---- the scheduler -----------------------------------------------------------------------------------


def free(state):
    """Cores that are free, by node."""
    left = {name: node["cores"] for name, node in state["nodes"].items()}
    for task in state["tasks"].values():
        for host in filter(None, task["hosts"].split("+") if task["pid"] else ()):
            name, _, cores = host.partition("/0*")
            left[name] -= int(cores)
    return left


def schedule(state):
    """Start a scheduler where none runs; called with the queue locked."""
    if state["scheduler"] and Path(f"/proc/{state['scheduler']}").exists():
        return
    words = [sys.executable, __file__, "scheduler"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    state["scheduler"] = subprocess.Popen(words, start_new_session=True, **quiet).pid


def scheduler():
    running = {}
    while (FOLDER / "queue.json").exists():
        try:
            with queue() as state:
                turn(state, running)
        except FileNotFoundError:
            break
        time.sleep(0.05)
    for process in running.values():
        process.kill()


def turn(state, running):
    for job, process in list(running.items()):
        task = state["tasks"].get(job)
        if task is None:  # the server has lost it
            del running[job]
        elif process.poll() is not None:
            del running[job]
            # an exit status above 256 is a signal's
            code = process.returncode if process.returncode >= 0 else 256 - process.returncode
            over(task, 91 if task["substate"] == 91 else 92, code)
        elif task.get("kill_at", math.inf) < time.time():
            send(task, signal.SIGKILL)
    left = free(state)
    for task in state["tasks"].values():
        if task["state"] == "Q":
            place = placed(task["cores"], left, state["nodes"])
            if place:
                running[task["id"]] = started(task, place)
            else:
                task["comment"] = "Not Running: Insufficient amount of resource: ncpus"


def placed(cores, left, nodes):
    """Cores of nodes that are up, as many as asked for, taken from those that are left; empty where they do not fit."""
    up = {name: left[name] for name, node in nodes.items() if node["state"] == "free"}
    if sum(up.values()) < cores:
        return {}
    found = {}
    for name, number in up.items():
        taken = min(number, cores)
        if taken:
            found[name] = taken
            left[name] -= taken
            cores -= taken
    return found


def started(task, place):
    script = FOLDER / f"{task['id']}.sh"
    script.write_text(task["script"])
    # `-V` gives what there was at the submission, the rest is of the job
    environment = {**task["environment"], **task["variables"], "PBS_JOBID": task["id"], "PBS_ENVIRONMENT": "PBS_BATCH"}
    if "[" in task["id"]:
        environment["PBS_ARRAY_INDEX"] = str(task["index"])
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["/bin/bash", script], env=environment, start_new_session=True, **quiet)
    hosts = "+".join(f"{name}/0*{cores}" for name, cores in place.items())
    changed(task, state="R", substate=42, pid=process.pid, hosts=hosts, comment="")
    return process


COMMANDS = {
    "qsub": qsub,
    "qselect": qselect,
    "qstat": qstat,
    "qdel": qdel,
    "qsig": qsig,
    "pbsnodes": pbsnodes,
}

if __name__ == "__main__":
    if sys.argv[1:] == ["scheduler"]:
        scheduler()
    elif not (FOLDER / "queue.json").exists():
        fail("cannot connect to server server (errno=111)", 255)
    else:
        COMMANDS[Path(sys.argv[0]).name](sys.argv[1:])
