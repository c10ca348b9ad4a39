"""Load, and questions from inside of the cluster."""

import base64
import csv
import io
import json
import shlex
import subprocess
import time
import typing

import kube
from kube import NAMESPACE, OUTSIDE, Failed, execute, kubectl, until

# vegeta keeps one connection to each name, and all names are the Service's address. (With one name
# one or two connections would do all the work, since Go takes the one that was last used.)
CONNECTIONS = 64

# Seconds of load at least: however fast what is tested went, it was seen under load.
LEAST = 5

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SMALL = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}


def tools(image):
    """A container with a shell and redis-cli."""
    return {
        "name": "tools",
        "image": image,
        "command": ["sleep", "infinity"],
        "resources": SMALL,
        "securityContext": CONTAINER,
        "volumeMounts": [{"name": "load", "mountPath": "/load"}],
    }


def plain_pod(name, namespace, labels, containers, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": RESTRICTED,
            "containers": containers,
            "volumes": [{"name": "load", "emptyDir": {}}],
            **spec,
        },
    }


def apply(*objects):
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List",
                                                  "items": list(objects)}))


def make_driver(images):
    """The pod that sends load, and beside it one that nobody knows. Needs the Service."""
    address = kube.core("services", "redis-api")["spec"]["clusterIP"]
    names = [f"c{number}" for number in range(CONNECTIONS)]
    loadbot = {
        "name": "load",
        "image": images["redis-api-loadbot"],
        # It waits for `exec`: the image has no shell and no sleep.
        "args": ["helloworld", "--listen", "127.0.0.1:8099"],
        "resources": SMALL,
        "securityContext": CONTAINER,
        "volumeMounts": [{"name": "load", "mountPath": "/load"}],
    }
    shell = tools(images["valkey/valkey"])
    apply(
        # Nothing goes out of this namespace's pods by default; these may try everything.
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "suite", "namespace": NAMESPACE},
            "spec": {
                "podSelector": {"matchLabels": {"suite": "true"}},
                "policyTypes": ["Egress"],
                "egress": [{}],
            },
        },
        plain_pod(
            "driver", NAMESPACE, {"suite": "true", "redis-api-client": "true"}, [loadbot, shell],
            # So that the shell can end an attack.
            shareProcessNamespace=True,
            hostAliases=[{"ip": address, "hostnames": names}],
        ),
        plain_pod("stranger", NAMESPACE, {"suite": "true"}, [shell]),
    )
    for name in ("driver", "stranger"):
        until(f"the pod {name} is ready", 90, lambda name=name: kube.is_ready(kube.pod(name)))
    shell_in("driver", "cat > /load/targets",
             stdin="".join(f"GET http://{name}:8080/\n" for name in names))


def shell_in(name, script, *args, namespace=NAMESPACE, container="tools", **how):
    return execute(name, container, "bash", "-c", script, "bash", *args, namespace=namespace, **how)


def get(host, port=8080, path="/", pod="driver"):
    """An answer as the pod gets it: status line, headers and body. (The image may have no curl.)"""
    script = (
        'exec 3<>"/dev/tcp/$1/$2" && '
        r'printf "GET %s HTTP/1.1\r\nHost: suite\r\nConnection: close\r\n\r\n" "$3" >&3 && '
        "timeout 5 cat <&3"
    )
    return shell_in(pod, f"timeout 8 bash -c {shlex.quote(script)} bash \"$@\"",
                    host, str(port), path, timeout=30)


def value_at(host):
    return get(host).replace("\r", "").split("\n\n", 1)[1].strip()


def reaches(pod, host, port, namespace=NAMESPACE):
    """Can this pod open a connection there? A packet that is dropped counts as no after 3 s."""
    code, _ = shell_in(pod, 'timeout 3 bash -c \'exec 3<>"/dev/tcp/$0/$1"\' "$1" "$2"',
                       host, str(port), namespace=namespace, check=False, timeout=30)
    return code == 0


class Answer(typing.NamedTuple):
    """What came of one request. Times are Unix seconds; a code of 0 is a connection that failed."""

    began: float
    ended: float
    code: int
    error: str
    body: str
    url: str
    headers: str


class Load:
    """vegeta from the driver through the Service, from `with` on until its end. `more` are flags of
    vegeta's; of one that is given twice the last counts."""

    def __init__(self, name, rate=200, targets="/load/targets", more=()):
        self.name = f"{name}-{int(time.time())}"
        self.file = f"/load/{self.name}.gob"
        self.command = [
            "kubectl", "-n", NAMESPACE, "exec", "driver", "-c", "load", "--",
            "/usr/local/bin/vegeta", "-cpus", "1", "attack", "-name", self.name,
            "-rate", f"{rate}/1s", "-duration", "0", "-timeout", "5s", "-targets", targets,
            "-workers", str(CONNECTIONS), "-max-workers", str(4 * CONNECTIONS),
            "-max-connections", "1", "-max-body", "4KB", *more, "-output", self.file,
        ]

    def __enter__(self):
        # pylint: disable=consider-using-with
        self.attack = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )

        def started():
            if self.attack.poll() is not None:
                raise Failed(f"vegeta has ended: {self.attack.stdout.read()[-500:]}")
            return shell_in("driver", 'test -s "$1"', self.file, check=False)[0] == 0

        try:
            until("the load has begun", 30, started)
        except Failed:
            self._end()
            raise
        self.begun = time.monotonic()
        return self

    def __exit__(self, failed, *_):
        try:
            if failed is None:
                until("the load has lasted long enough", LEAST + 5,
                      lambda: time.monotonic() - self.begun >= LEAST)
        finally:
            self._end()

    def _end(self):
        """The first signal stops sending, and what is in flight is waited for."""
        shell_in(
            "driver",
            'for at in /proc/[0-9]*; do case "$(tr "\\0" " " 2>/dev/null <"$at/cmdline")" in '
            '*"vegeta "*" -name $1 "*) kill -INT "${at#/proc/}";; esac; done',
            self.name, check=False,
        )
        try:
            self.attack.wait(30)
        except subprocess.TimeoutExpired:
            self.attack.kill()
            self.attack.wait(10)

    def report(self):
        return json.loads(execute("driver", "load", "/usr/local/bin/vegeta", "report",
                                  "-type", "json", self.file))

    def records(self):
        """An Answer for each request."""
        text = execute("driver", "load", "/usr/local/bin/vegeta", "encode", "-to", "csv", self.file)
        for row in csv.reader(io.StringIO(text)):
            began = int(row[0]) / 1e9
            body, headers = (base64.b64decode(row[at]).decode() for at in (6, 11))
            yield Answer(began, began + int(row[2]) / 1e9, int(row[1]), row[5], body, row[10],
                         headers)

    def answers(self):
        """Code, error and body of each request."""
        for one in self.records():
            yield one.code, one.error, one.body

    def must_be_flawless(self, least=500):
        """Returns a line that says how much was sent."""
        report = self.report()
        if report["requests"] < least:
            raise Failed(f"only {report['requests']} requests were sent")
        if set(report["status_codes"]) != {"200"}:
            raise Failed(
                f"of {report['requests']} requests some failed: {report['status_codes']}, "
                f"{report['errors'][:5]}"
            )
        worst = report["latencies"]["max"] / 1e6
        return f"{report['requests']} requests, none failed, the slowest {worst:.0f} ms"


# --- inside of a node ---

_tools = {}


def forget_tools():
    _tools.clear()


def tool_on(node, image):
    """A pod that may do everything on that node, outside of the namespace under test."""
    if node in _tools:
        return _tools[node]
    name = f"tool-{len(_tools)}"
    container = tools(image)
    container["securityContext"] = {"privileged": True, "runAsUser": 0}
    mounts = {"load": None, "data": "/var/lib/redis-api-suite", "cgroup": "/sys/fs/cgroup"}
    container["volumeMounts"] = [{"name": one, "mountPath": f"/{one}"} for one in mounts]
    apply(
        plain_pod(
            name, OUTSIDE, {"app": "tool"}, [container],
            nodeName=node, hostPID=True, securityContext={},
            tolerations=[{"operator": "Exists"}],
            volumes=[
                {"name": one, "emptyDir": {}} if path is None else
                {"name": one, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
                for one, path in mounts.items()
            ],
        )
    )
    until(f"the pod {name} is ready", 90, lambda: kube.is_ready(kube.pod(name, OUTSIDE)))
    _tools[node] = name
    return name


def on_node(pod, image, script, *args, **how):
    """A script on the node of the pod."""
    tool = tool_on(pod["spec"]["nodeName"], image)
    return shell_in(tool, script, *args, namespace=OUTSIDE, **how)


def container_id(pod, container):
    return kube.statuses(pod)[container]["containerID"].split("//")[1]


def signal(pod, container, name, image):
    """A signal to all processes of a container. From outside: the first process of a container gets
    no SIGSTOP and no SIGKILL from within."""
    sent = on_node(
        pod, image,
        'for at in $(grep -l -- "$1" /proc/[0-9]*/cgroup); do at=${at%/cgroup}; '
        'kill "-$2" "${at#/proc/}" && echo "${at#/proc/}"; done',
        container_id(pod, container), name,
    )
    if not sent.strip():
        raise Failed(f"no process of {container} in {kube.name_of(pod)} was found")


def cpu_seconds(pod, container, image):
    """CPU time that the container has taken, by its cgroup."""
    text = on_node(
        pod, image,
        'at=$(grep -l -- "$1" /proc/[0-9]*/cgroup | head -n 1) && '
        'path() { sed -n "s/^[0-9]*:$1://p" "$at" | sed "s:^\\(/\\.\\.\\)*::"; } && '
        'v1=$(path "[a-z,]*cpuacct[a-z,]*") && '
        'for file in "/cgroup/cpuacct$v1/cpuacct.usage" "/cgroup/cpu,cpuacct$v1/cpuacct.usage"; do '
        'if [ -n "$v1" ] && [ -e "$file" ]; then cat "$file"; exit; fi; done; '
        'awk "/^usage_usec/ { print \\$2 * 1000 }" "/cgroup$(path "")/cpu.stat"',
        container_id(pod, container),
    )
    return int(float(text.strip())) / 1e9
