"""6 to 8, what is slow: rotation, autoscaling, what both sessions of the talk cost."""

import base64
import json
import os
import pathlib
import time
import typing

import gate
import kube
import load
import talk
from deployed import with_component
from kube import Failed, kubectl, until
from load import Load
from stage import count_of, metrics_of


def writers(stage):
    """A file of vegeta's for posts with the token."""
    body = base64.b64encode(b'{"value":44.5}').decode()
    header = {"Authorization": [f"Bearer {stage.passwords['WRITE_TOKEN']}"]}
    target = {"method": "POST", "url": "http://c0:8080/", "body": body, "header": header}
    # By a pipe; the file is in the driver's memory of this run alone.
    load.shell_in("driver", "umask 077 && cat >/load/posts", stdin=json.dumps(target) + "\n")
    return "/load/posts"


class Writes(Load):
    """Posts, in the same way."""

    def __init__(self, stage, name, rate=5):
        super().__init__(name, rate, writers(stage), ("-format", "json"))


def rotated(stage, what):
    """rotate.sh under reads and writes: neither fails, nothing restarts, links stay."""
    stage.settle()
    everyone = [pod for app in ("redis-api", "redis-master") for pod in kube.pods(app)]
    before = {kube.name_of(pod): kube.restarts(pod) for pod in everyone}
    with Load(f"rotate-{what}") as reads, Writes(stage, f"writes-{what}") as writes:
        stage.script("rotate.sh", what, "--yes", timeout=900)
        # New connections log in with what is new: of the API, and of a replica.
        stage.master("client", "kill", "type", "normal")
        stage.master("client", "kill", "type", "replica")
        until("the replicas are linked again", 60, lambda: all(
            "master_link_status:up" in stage.redis(kube.name_of(pod), "info", "replication")
            for pod in stage.api_pods()))
    for name, counts in before.items():
        if kube.restarts(kube.pod(name)) != counts:
            raise Failed(f"{name} has restarted: {kube.restarts(kube.pod(name))}")
    stage.post(45.5)
    stage.everywhere(45.5)
    report = writes.report()
    # The connections were ended by hand: what was on its way then may be lost, and says so.
    bad = report["requests"] - report["status_codes"].get("200", 0)
    if bad > 2:
        raise Failed(f"writes failed: {report['status_codes']} {report['errors'][:5]}")
    return f"{reads.must_be_flawless()}; {report['requests']} writes, {bad} cut off by hand"


def rotate_password(stage):
    """Rotation of the password under load, by Secrets alone."""
    told = rotated(stage, "password")
    stage.passwords["REDIS_PASS"] = base64.b64decode(
        kube.core("secrets", "redis")["data"]["password"]
    ).decode()
    return told


def rotate_certificates(stage):
    """Rotation of the certificates under load, by Secrets alone."""
    return rotated(stage, "certificates")


def rotate_ca(stage):
    """Rotation of the CA under load, by Secrets alone."""
    return rotated(stage, "ca")


def autoscaler_follows_the_load(stage):
    """The HPA raises the number of replicas on real load, and lowers it after."""
    stage.settle()
    # As the component says: kubectl must forget that it once set the number.
    folder = pathlib.Path(with_component(stage, "hpa"))
    with open(folder / "kustomization.yaml", "a", encoding="utf-8") as out:
        # Five minutes of patience, then one pod a minute: right for a service, long for a test.
        out.write(
            "patches:\n"
            "  - target: {kind: HorizontalPodAutoscaler}\n"
            "    patch: |\n"
            "      - {op: replace, path: /spec/maxReplicas, value: 6}\n"
            "      - op: replace\n"
            "        path: /spec/behavior/scaleDown\n"
            "        value:\n"
            "          stabilizationWindowSeconds: 15\n"
            "          policies: [{type: Pods, value: 3, periodSeconds: 15}]\n"
        )
    os.environ["KUBE_EDITOR"] = "sed -i /replicas:/d"
    kubectl("apply", "edit-last-applied", "deployment/redis-api")
    kubectl("apply", "-k", str(folder))
    try:
        if kube.deployment("redis-api")["spec"]["replicas"] != 3:
            raise Failed("adding the autoscaler has changed the number of replicas")
        wanted = lambda: kube.deployment("redis-api")["spec"]["replicas"]  # noqa: E731
        begun = time.monotonic()
        # 60 % of the small overlays' request, 50m, is soon reached.
        with Load("autoscaler", 1500) as attack:
            until("it has raised the number", 240, lambda: wanted() > 3)
            up = time.monotonic() - begun
            most = wanted()
            kube.rolled_out("redis-api")
        begun = time.monotonic()
        until("it has lowered the number to three", 400, lambda: wanted() == 3)
        down = time.monotonic() - begun
        return f"3 to {most} after {up:.0f} s, back after {down:.0f} s; {attack.must_be_flawless()}"
    finally:
        kubectl("delete", "horizontalpodautoscaler", "redis-api", "--ignore-not-found")
        stage.apply("small/sidekick")


# --- the table of the talk ---

RATES = (1000, 3000)
ROUNDS = int(os.environ.get("ROUNDS", "5"))
HOLD = int(os.environ.get("HOLD", "20"))
LABEL = "talk-form"
REQUESTS = "redis_api_http_requests_total"


class Form(typing.NamedTuple):
    """A row: what is deployed, and what is set on it."""

    folder: str
    name: str = "redis-api"
    # Flags, by the names of their variables behind REDIS_API_.
    flags: dict = {}
    # Of containers, by the part of the table that they are.
    sidecars: tuple = ()


def sidekick(mode, **flags):
    sidecars = (("replica", "redis-sidekick"), ("sync", "sync-auth"))
    return Form("sidekick", flags={"READ_MODE": mode, **flags}, sidecars=sidecars)


# What is compared most stands side by side. (500us is too short for a sleep below 4,000/s.)
FORMS = {
    "naive": Form("naive", flags={"READ_MODE": "batch"}),
    "sidekick, batch": sidekick("batch"),
    "sidekick, tracked": sidekick("tracked"),
    talk.CEILING: Form("rig", name="helloworldserver"),
    "sidekick, tracked, 1ms": sidekick("tracked", WAKE_INTERVAL="1ms"),
    "sidekick, tracked, 2ms": sidekick("tracked", WAKE_INTERVAL="2ms"),
}
# FORMS=helloworld;sidekick, tracked: these rows alone.
if os.environ.get("FORMS"):
    FORMS = {name: FORMS[name] for name in os.environ["FORMS"].split(";")}


def label_of(form):
    return form.replace(", ", "-").replace(" ", "-")


def deploy_forms(stage):
    """One pod of each form, all at once: no roll-outs in a round, so that rows are near in time."""
    kubectl("scale", "deployment", "redis-api", "--replicas=0")
    for name, form in FORMS.items():
        found = [one for one in gate.manifests(str(stage.deploy / "small" / form.folder))
                 if one["kind"] == "Deployment" and kube.name_of(one) == form.name][0]
        # The Service takes its pods by the one label, and its one of all forms by the other.
        labels, spec = {"app": "redis-api", LABEL: label_of(name)}, found["spec"]
        found["metadata"]["name"] = f"talk-{label_of(name)}"
        spec["replicas"] = 1
        spec["selector"]["matchLabels"] |= labels
        spec["template"]["metadata"]["labels"] |= labels
        flags = {"WAKE_INTERVAL": "0s", **form.flags}
        settings = {f"REDIS_API_{flag}": value for flag, value in flags.items()}
        env = spec["template"]["spec"]["containers"][0]["env"]
        env[:] = [one for one in env if one["name"] not in settings]
        env += [{"name": key, "value": value} for key, value in settings.items()]
        load.apply(found)
    for name in FORMS:
        until(f"{name} is ready", 120, lambda name=name: kube.is_ready(pod_of(name)))


def pod_of(form):
    return kube.core(f"pods?labelSelector={LABEL}%3D{label_of(form)}")["items"][0]


def choose(form):
    """The Service leads to that pod, and to no other."""
    select(label_of(form))
    pod = pod_of(form)

    def leads_there():
        before = count_of(metrics_of(pod), REQUESTS)
        for _ in range(5):
            load.value_at("redis-api")
        return count_of(metrics_of(pod), REQUESTS) >= before + 5

    until(f"the Service leads to {form}", 30, leads_there)
    return pod


def select(label):
    """A label, or None for none."""
    kubectl("patch", "service", "redis-api", "--type=merge", "-p",
            json.dumps({"spec": {"selector": {LABEL: label}}}))


def top(selector):
    """Millicores by container."""
    text = kubectl("top", "po", "-l", selector, "--containers", "--no-headers")
    return {line.split()[1]: int(line.split()[2].rstrip("m")) for line in text.splitlines()}


def measured(stage, form, rate):
    """One row: the rate held; CPU by cgroup from beginning to end, `kubectl top` at the end."""
    image, name = stage.shell_image, FORMS[form].name
    api, master = choose(form), kube.pod("redis-master-0")
    parts = {"api": (api, name), "master": (master, "redis")}
    parts |= {part: (api, container) for part, container in FORMS[form].sidecars}

    def now():
        """Each counter with its own time: reading one takes a moment, now less and now more."""
        reads = {part: lambda where=where: load.cpu_seconds(*where, image)
                 for part, where in parts.items()}
        reads["requests"] = lambda: count_of(metrics_of(api), REQUESTS)
        return {name: (read(), time.monotonic()) for name, read in reads.items()}

    with Load(f"table-{label_of(form)}-{rate}", rate) as attack:
        # The figure of `top` is of the load alone if the load is older than the figure's window.
        time.sleep(10)
        before = now()
        time.sleep(HOLD)
        after = now()
        shown = {"api": top(f"{LABEL}={label_of(form)}"), "master": top("app=redis-master")}
    report = attack.report()
    rates = {name: (after[name][0] - count) / (after[name][1] - then)
             for name, (count, then) in before.items()}
    row = {
        "form": form, "rate": rate, "achieved": round(rates["requests"]),
        "success": report["success"],
        "p50_us": round(report["latencies"]["50th"] / 1000),
        "p99_us": round(report["latencies"]["99th"] / 1000),
    }
    for part in talk.PARTS:
        _, container = parts.get(part, (None, ""))
        of_pod = shown["master" if part == "master" else "api"]
        row[f"top_{part}_m"] = of_pod.get(container, 0)
        row[f"{part}_us_per_request"] = round(rates.get(part, 0) / rates["requests"] * 1e6, 1)
        row[f"{part}_cgroup_m"] = round(rates.get(part, 0) * 1000)
    return row


def one_round(stage, number):
    """Every second one backwards, so that what drifts weighs on no form."""
    rows = []
    for rate in RATES:
        for form in list(FORMS)[::1 if number % 2 else -1]:
            rows.append({"round": number, **measured(stage, form, rate)})
            print(f"      {rows[-1]}", flush=True)
    return rows


def table_of_the_talk(stage):
    """The table of the talk: naive, sidekick, helloworld; `kubectl top` and CPU per request."""
    rows = []
    kubectl("scale", "deployment", "updater", "--replicas=1")
    deploy_forms(stage)
    try:
        for number in range(ROUNDS):
            rows += one_round(stage, number + 1)
    finally:
        kubectl("scale", "deployment", "updater", "--replicas=0")
        select(None)
        kubectl("delete", "deployment", *(f"talk-{label_of(form)}" for form in FORMS))
        stage.settle()
    folder = pathlib.Path(os.environ.get("RESULTS", stage.artifacts))
    folder.mkdir(parents=True, exist_ok=True)
    talk.write(folder, rows)
    return f"{folder / 'talk.md'}"


CHECKS = [rotate_password, rotate_certificates, rotate_ca, autoscaler_follows_the_load,
          table_of_the_talk]
