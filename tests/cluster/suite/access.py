"""5: who reaches whom, and where secrets show."""

import base64
import json

import kube
import load
from kube import NAMESPACE, OUTSIDE, Failed, kubectl, run, until
from load import reaches


def places(stage):
    """Addresses that matter: of pods too, since policies are about them."""
    pod = stage.settle()[0]
    master = kube.pod("redis-master-0")["status"]["podIP"]
    service = kube.core("services", "redis-master")["spec"]["clusterIP"]
    kubectl("scale", "deployment", "vegetaserver", "updater", "--replicas=1")
    for name in ("vegetaserver", "updater", "aggregator"):
        kube.rolled_out(name)
    rig = {name: kube.pods(name)[0]["status"]["podIP"] for name in ("vegetaserver", "aggregator")}
    api = kube.core("services", "redis-api")["spec"]["clusterIP"]
    return {
        "the API": (pod["status"]["podIP"], 8080),
        "the API's Service": (api, 8080),
        "the admin port": (pod["status"]["podIP"], 9090),
        "the sidecar": (pod["status"]["podIP"], 6379),
        "the master": (master, 6379),
        "the master's Service": (service, 6379),
        "a bot": (rig["vegetaserver"], 8081),
        "the aggregator": (rig["aggregator"], 8082),
    }


def strangers_are_kept_out(stage):
    """Who must not reach API, admin port, sidecar, master or rig can't."""
    at = places(stage)
    labelled = {"the API", "the API's Service", "the aggregator"}
    make_outsider(stage)
    cases = [("driver", NAMESPACE, name) for name in at if name not in labelled]
    cases += [("stranger", NAMESPACE, name) for name in at]
    cases += [("stranger", OUTSIDE, name) for name in at]

    def one(case):
        pod, namespace, name = case
        return reaches(pod, *at[name], namespace=namespace)

    wrong = [case for case, got in zip(cases, in_eights(one, cases)) if got]
    if wrong:
        raise Failed(f"these get through: {wrong}")
    return f"{len(cases)} ways"


def make_outsider(stage):
    """A pod of another namespace."""
    load.apply(load.plain_pod("stranger", OUTSIDE, {"suite": "true"},
                              [load.tools(stage.shell_image)]))
    until("the stranger is ready", 60, lambda: kube.is_ready(kube.pod("stranger", OUTSIDE)))


def in_eights(work, cases):
    done = []
    for first in range(0, len(cases), 8):
        done += kube.in_parallel(work, cases[first:first + 8])
    return done


def those_who_must_get_in(stage):
    """Who must reach them does: clients, a labelled namespace, bots, updater, aggregator."""
    try:
        reach_them(stage)
    finally:
        kubectl("scale", "deployment", "vegetaserver", "updater", "--replicas=0")


def reach_them(stage):
    """All but the cleaning up."""
    at = places(stage)
    make_outsider(stage)
    for name in ("the API", "the API's Service", "the aggregator"):
        if not reaches("driver", *at[name]):
            raise Failed(f"a labelled client doesn't reach {name}")
    # As an ingress controller's namespace would be.
    kubectl("label", "namespace", OUTSIDE, "redis-api-client=true")
    try:
        until("a labelled namespace reaches the API", 30,
              lambda: reaches("stranger", *at["the API"], namespace=OUTSIDE))
        for name in ("the admin port", "the master", "a bot"):
            if reaches("stranger", *at[name], namespace=OUTSIDE):
                raise Failed(f"a labelled namespace reaches {name} too")
    finally:
        kubectl("label", "namespace", OUTSIDE, "redis-api-client-")
    first = load.value_at("redis-api")
    until("the updater's values arrive", 60, lambda: load.value_at("redis-api") != first)
    with kube.Forward("deployment/aggregator", 8082) as board:

        def seen():
            summary = json.loads(board.get("/summary")[1])
            event = first_event(f"{board.url}/events")
            usable = [one for one in event.get("pods") or [] if one.get("usable")]
            if summary["bots"] != 1 or len(usable) != 3:
                raise Failed(f"bots: {summary['bots']}, pods: {event.get('pods')}")
            return True

        until("the aggregator sees the bot and all pods", 90, seen)


def first_event(url):
    """The first board that is sent."""
    text = run("curl", "--silent", "--max-time", "3", url, check=False)[1]
    for line in text.splitlines():
        if line.startswith("data:"):
            return json.loads(line[5:])
    raise Failed("no event came")


def secrets_show_nowhere(stage):
    """Secrets show nowhere: not in objects, events, logs, command lines or environments."""
    stage.settle()
    # The keys of certificates too: a line from their middle.
    patterns = dict(stage.passwords)
    for name in ("redis-tls", "redis-master-tls"):
        data = kube.core("secrets", name)["data"]
        patterns[f"the key of {name}"] = data["tls.key"][100:140]
    patterns |= {f"{name}, as base64": encoded(value) for name, value in stage.passwords.items()}

    def look(where, text):
        for name, value in patterns.items():
            if value in text:
                raise Failed(f"{name} shows in {where}")

    kinds = "pods,deployments,statefulsets,replicasets,configmaps,services,events,endpointslices"
    look("objects", kubectl("-n", NAMESPACE, "get", kinds, "-o", "yaml"))
    looked = 0
    for pod in kube.core("pods")["items"]:
        for container, status in kube.statuses(pod).items():
            name = kube.name_of(pod)
            for more in [[], ["--previous"]] if status["restartCount"] else [[]]:
                code, text = kubectl("-n", NAMESPACE, "logs", name, "-c", container, *more,
                                     check=False)
                if code == 0:
                    looked += 1
                    look(f"the log of {name} {container}", text)
    nodes = {pod["spec"]["nodeName"]: pod for pod in kube.core("pods")["items"]}
    for pod in nodes.values():
        # A process may end meanwhile. What is looked for comes by a pipe: no process shows it.
        found = load.on_node(
            pod, stage.shell_image,
            "cat >/load/patterns && for file in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do "
            'if grep -aqFf /load/patterns "$file" 2>/dev/null; then '
            'echo "$file $(tr "\\0" " " <"${file%/*}/cmdline")" | cut -c1-200; fi; done; '
            "rm /load/patterns",
            stdin="".join(f"{value}\n" for value in stage.passwords.values()),
        )
        if found.strip():
            raise Failed(f"a password shows in {found}")
    # The same look does find what is there.
    if stage.passwords["REDIS_PASS"] not in decoded("redis", "password"):
        raise Failed("the Secret has another password: nothing was proved")
    return f"{looked} logs"


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def decoded(name, key):
    return base64.b64decode(kube.core("secrets", name)["data"][key]).decode()


CHECKS = [strangers_are_kept_out, those_who_must_get_in, secrets_show_nowhere]
