#!/usr/bin/python3 -I
"""A whole backend: sandboxes of bwrap's, without network. One process answers one question; README.md explains it."""
import json, os, shutil, sys

class Failed(Exception):
    """Its arguments are the answer's kind, message and hint."""

def bwrap():
    if not shutil.which("bwrap"):
        raise Failed("missing-tool", "'bwrap' is not installed", "install it: apt-get install bubblewrap")
    return shutil.which("bwrap")

def describe(request):
    features = {"mounts": True, "masks": True, "networks": ["none"]}
    return {"protocol": "0.1", "isolation": "process", "features": features, "verbs": ["check"]}

def check(request):
    return [{"subject": "bwrap", "state": {"Ok": bwrap()}}]

def prepare(request):
    bwrap()
    spec = request["spec"]
    if spec["user"]["uid"] == 0:
        raise Failed("refused", "a guest never runs as root", "use a worktree of an ordinary user")
    args = ["--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1", "--die-with-parent", "--clearenv"]
    args += ["--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr"]
    for name in ["bin", "lib", "lib32", "lib64", "sbin"]:
        if os.path.islink("/" + name):
            args += ["--symlink", os.readlink("/" + name), "/" + name]
        elif os.path.isdir("/" + name):
            args += ["--ro-bind", "/" + name, "/" + name]
    for name in ["alternatives", "group", "ld.so.cache", "nsswitch.conf", "passwd"]:
        args += ["--ro-bind-try", "/etc/" + name, "/etc/" + name]
    # Memory, in which nothing of the host's is; what is mounted may lie there and so comes later.
    for name in ["/tmp", "/var/tmp", "/run", "/home", spec["home"]]:
        args += ["--tmpfs", name]
    for mount in spec["mounts"]:
        args += ["--bind" if mount["access"] == "read-write" else "--ro-bind", mount["source"], mount["target"]]
    empty = {"file": spec["scratch"] + "/file", "directory": spec["scratch"] + "/directory"}
    if spec["policy"]["masks"] and not request["dry_run"]:
        open(empty["file"], "w").close()
        os.makedirs(empty["directory"], exist_ok=True)
    for mask in spec["policy"]["masks"]:
        args += ["--ro-bind", empty[mask["kind"]], mask["target"]]
    env = {"HOME": spec["home"], "PATH": "/run/workmux/bin:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    return {"name": "sample-" + spec["run"][:6], "env": list(env.items()), "state": args + ["--remount-ro", "/"]}

def exec_(request):
    command, args = request["command"], list(request["instance"]["state"])
    for name, value in command["env"]:
        args += ["--setenv", name, value]
    return {"plan": {"program": bwrap(), "args": args + ["--chdir", command["cwd"], "--"] + command["argv"]}}

question = json.loads(sys.stdin.readline())
verbs = {"describe": describe, "check": check, "prepare": prepare, "exec": exec_}
try:
    answer = {"ok": verbs[question["verb"]](question["request"])}
except Failed as failed:
    answer = {"error": dict(zip(["kind", "message", "hint"], failed.args))}
print(json.dumps({"id": question["id"], **answer}))
