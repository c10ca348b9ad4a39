"""kubectl, the API server, and waiting for what they say."""

import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request

# All manifests are for this one; the talk's commands and the scripts too.
NAMESPACE = "redis-api"
# Of the suite alone: pods that strangers would run, and the ones that reach into a node.
OUTSIDE = "redis-api-suite"


class Failed(Exception):
    """A check has failed; the text says why."""


def run(*command, stdin=None, timeout=180, check=True):
    """Its output, or Failed with its last words. With check=False: its status and all it wrote."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        if not check:
            return 124, f"no end after {timeout} s"
        raise Failed(f"{' '.join(command)[:300]}: no end after {timeout} s") from None
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed") from None
    if not check:
        return done.returncode, done.stdout + done.stderr
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-1500:]
        raise Failed(f"{' '.join(command)[:300]}: status {done.returncode}: {words}")
    return done.stdout


def kubectl(*args, **how):
    """kubectl in the namespace under test, unless args name another."""
    return run("kubectl", *args, **how)


def until(what, seconds, probe):
    """Repeats the probe until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    last = "no answer"
    while True:
        try:
            found = probe()
            if found:
                return found
            last = repr(found)
        except (Failed, OSError, KeyError, ValueError) as error:
            last = str(error)
        if time.monotonic() > deadline:
            raise Failed(f"after {seconds} s still not: {what} (at last: {last[:800]})")
        time.sleep(0.25)


class Background:
    """A command that runs until stopped. `line(pattern)` waits for a line of its output."""

    def __init__(self, *command):
        self.command = command
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.lines = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            # What is said first is what is looked for; the rest must not pile up.
            del self.lines[200:]

    def line(self, pattern, seconds=30):
        def found():
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            if self.process.poll() is not None:
                raise Failed("".join(self.lines) or "it has ended")
            return None

        return until(f"{' '.join(self.command)} says {pattern}", seconds, found)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


_proxy = None


def api(path):
    """An object of the API server. By one `kubectl proxy`: starting kubectl each time is dear."""
    global _proxy
    if _proxy is None or _proxy.process.poll() is not None:
        _proxy = Background("kubectl", "proxy", "--port=0")
        match = _proxy.line(r"Starting to serve on (\S+)")
        _proxy.address = match.group(1)
    try:
        with urllib.request.urlopen(f"http://{_proxy.address}{path}", timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failed(f"{path}: {error.code} {error.read()[:300]!r}") from None


def close():
    if _proxy is not None:
        _proxy.stop()


def core(kind, name="", namespace=NAMESPACE, group="api/v1"):
    return api(f"/{group}/namespaces/{namespace}/{kind}{'/' if name else ''}{name}")


def deployment(name):
    return core("deployments", name, group="apis/apps/v1")


def pods(app=NAMESPACE):
    """The pods with this label that are not about to go."""
    found = core(f"pods?labelSelector=app%3D{app}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def name_of(thing):
    return thing["metadata"]["name"]


def condition(pod, kind="Ready"):
    for one in pod["status"].get("conditions", []):
        if one["type"] == kind:
            return one
    return {"status": "Unknown", "lastTransitionTime": ""}


def is_ready(pod):
    return condition(pod)["status"] == "True"


def statuses(pod):
    """The state of every container of the pod, native sidecars included, by name."""
    status = pod["status"]
    both = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    return {one["name"]: one for one in both}


def restarts(pod):
    return {name: one["restartCount"] for name, one in statuses(pod).items()}


def pod(name, namespace=NAMESPACE):
    return core("pods", name, namespace)


def rolled_out(name, seconds=180):
    """All pods of the Deployment are of its newest form and ready, and old ones are gone."""

    def probe():
        now = deployment(name)
        wanted = now["spec"]["replicas"]
        status = now["status"]
        if status.get("observedGeneration", 0) < now["metadata"]["generation"]:
            return False
        kinds = ("replicas", "updatedReplicas", "availableReplicas")
        counts = [status.get(kind, 0) for kind in kinds]
        if counts != [wanted] * 3:
            raise Failed(f"{wanted} wanted; all, updated, available: {counts}")
        # Those that drain still count here: the next check wants to start from a quiet state.
        left = core(f"pods?labelSelector=app%3D{name}")["items"]
        if len(left) != wanted:
            raise Failed(f"{len(left) - wanted} old pods are draining")
        return True

    until(f"{name} is rolled out", seconds, probe)


def execute(name, container, *command, namespace=NAMESPACE, **how):
    stdin = how.get("stdin")
    flags = ["-i"] if stdin is not None else []
    return run(
        "kubectl", "-n", namespace, "exec", *flags, name, "-c", container, "--", *command, **how
    )


class Forward:
    """A local port that leads to the port of a pod or a Service, as `kubectl port-forward`."""

    def __init__(self, target, port, local=""):
        self.forward = Background(
            "kubectl", "-n", NAMESPACE, "port-forward", target, f"{local}:{port}"
        )

    def __enter__(self):
        try:
            match = self.forward.line(r"Forwarding from 127\.0\.0\.1:(\d+)")
        except Failed:
            self.forward.stop()
            raise
        self.url = f"http://127.0.0.1:{match.group(1)}"
        return self

    def __exit__(self, *_):
        self.forward.stop()

    def get(self, path):
        return http(self.url + path)


def http(url):
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def in_parallel(work, things):
    """work(thing) for each at the same moment; the results in order. A failure is raised."""
    results = [None] * len(things)
    errors = []

    def one(at, thing):
        try:
            results[at] = work(thing)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(things)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def settings():
    """The names of images: IMAGE, LOADBOT_IMAGE, VALKEY_IMAGE, or what the manifests name."""
    return {
        "redis-api": os.environ.get("IMAGE", ""),
        "redis-api-loadbot": os.environ.get("LOADBOT_IMAGE", ""),
        "valkey/valkey": os.environ.get("VALKEY_IMAGE", ""),
    }


def tell_all(file):
    """For a check that failed: what isn't ready, events and logs, of both namespaces."""
    with open(file, "w", encoding="utf-8") as out:

        def say(title, *args):
            out.write(f"\n===== {title}\n{run('kubectl', *args, check=False, timeout=60)[1]}\n")

        for namespace in (NAMESPACE, OUTSIDE):
            within = ("-n", namespace)
            say(f"{namespace}: all", *within, "get", "all,pvc", "-o", "wide")
            say(f"{namespace}: events", *within, "get", "events", "--sort-by=.lastTimestamp")
            try:
                found = core("pods", namespace=namespace)["items"]
            except (Failed, OSError):
                continue
            for one in found:
                name = name_of(one)
                if not is_ready(one):
                    say(f"{namespace}: describe {name}", *within, "describe", "pod", name)
                say(
                    f"{namespace}: logs {name}",
                    *within, "logs", name, "--all-containers", "--prefix", "--tail=60",
                )
                if any(restarts(one).values()):
                    for container, count in restarts(one).items():
                        if count:
                            say(
                                f"{namespace}: logs {name} {container}, before its restart",
                                *within, "logs", name, "-c", container, "--previous", "--tail=60",
                            )
    return file
