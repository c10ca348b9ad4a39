"""1: every overlay, accepted and running. 2: the talk's commands as they stand."""

import json
import re
import shutil

import browser
import gate
import kube
import load
from kube import NAMESPACE, Failed, kubectl, until
from stage import OVERLAYS, count_of, metrics_of


def namespace_is_there(stage):
    """The namespace, its ConfigMap and Secrets are made by the scripts."""
    stage.prepare_cluster()


def server_takes_every_overlay(stage):
    """The API server takes every overlay without a warning."""
    folders = ["namespace", "master", "rig"] + [f"overlays/{name}" for name in OVERLAYS]
    folders += [f"small/{name}" for name in OVERLAYS + ("master", "rig")]
    for folder in folders:
        kubectl("apply", "-k", str(stage.deploy / folder), "--dry-run=server",
                "--warnings-as-errors")
    for component in ("hpa", "ordinary-sidecar", "external-redis"):
        gate.server_takes(gate.manifests(with_component(stage, component)))
    return f"{len(folders)} folders, 3 components"


def with_component(stage, component, *beside):
    """A kustomization of one's own, as the runbook has it."""
    folder = stage.deploy / f"suite-{component}"
    folder.mkdir(exist_ok=True)
    resources = ["../small/sidekick", *beside]
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"namespace: {NAMESPACE}\nresources: [{', '.join(resources)}]\n"
        f"components: [../components/{component}]\n"
    )
    return str(folder)


def gate_is_green(stage):
    """The manifests' gate is green: check-manifests.sh, kube-score, selectors, ports, Secrets."""
    stage.script("check-manifests.sh", timeout=300)
    for overlay in OVERLAYS:
        together = []
        for folder in (f"overlays/{overlay}", "rig", "master"):
            together += gate.manifests(str(stage.deploy / folder))
        findings = gate.Look(together).findings
        if findings:
            raise Failed(f"{overlay}: " + "; ".join(findings))


def gate_refuses_what_is_broken(stage):
    """The gate refuses a good manifest that is broken, in every way tried."""
    good = gate.manifests(with_component(stage, "hpa", "../small/rig", "../small/master"))
    gate.refuse_if_bad(good)
    passed = gate.broken_ones_pass(good)
    if passed:
        raise Failed(f"it lets through: {'; '.join(passed)}")
    return f"{len(gate.breakages())} ways"


def alerts_are_right(stage):
    """The alerts fire when they should: test-alerts.sh."""
    if not shutil.which("promtool"):
        return "NOT RUN: there is no promtool"
    stage.script("test-alerts.sh")
    return ""


# What the scripts for Google Cloud would run, among other things.
CLOUD = {
    ("project-auth.sh",): [
        "gcloud auth login",
        "gcloud config set project a-project",
        "gcloud config set compute/zone a-zone",
        "gcloud auth configure-docker a.registry --quiet",
    ],
    ("start-cluster.sh", "talk", "6"): [
        "6 nodes x 16 cores = 96 cores, in a-zone of project a-project",
        "gcloud container clusters create talk --project a-project --zone a-zone --num-nodes 6 "
        "--machine-type e2-standard-16 --enable-dataplane-v2 --enable-ip-alias",
        "gcloud container clusters get-credentials talk --project a-project --zone a-zone",
        f"kubectl config set-context --current --namespace={NAMESPACE}",
        "running, and costing money; to stop it: deploy/scripts/stop-cluster.sh talk",
    ],
    ("push-build.sh",): [
        "docker tag redis-api:1 a.registry/x/redis-api:1",
        "docker push a.registry/x/redis-api:1",
        "docker tag redis-api-loadbot:1 a.registry/x/redis-api-loadbot:1",
        "docker push a.registry/x/redis-api-loadbot:1",
    ],
    ("stop-cluster.sh", "talk"): [
        "deletes: the cluster talk in a-zone of project a-project, its nodes, and all that is in "
        "it",
        "gcloud container clusters delete talk --project a-project --zone a-zone --quiet",
    ],
}


def cloud_scripts_show_what_they_would_run(stage):
    """The cloud's scripts show what they would run, and run nothing."""
    settings = ("env", "PROJECT=a-project", "ZONE=a-zone", "REGISTRY=a.registry/x",
                "BUILDER=docker", "TAG=1")
    for (name, *args), wanted in CLOUD.items():
        script = str(stage.deploy / "scripts" / name)
        code, said = kube.run(*settings, script, *args, "--dry-run", check=False)
        missing = [line for line in wanted if line not in said.splitlines()]
        if code != 0 or missing:
            raise Failed(f"{name}: status {code}, without {missing}: {said}")
    return f"{len(CLOUD)} scripts"


def master_is_ready(stage):
    """The master becomes ready."""
    stage.apply("small/master")
    until("the master is ready", 150, lambda: [one for one in kube.pods("redis-master")
                                               if kube.is_ready(one)])


def naive_is_ready(stage):
    """naive becomes ready, and answers with a posted value."""
    applied(stage, "naive")
    load.make_driver(stage.images)
    stage.post(1.25)
    stage.everywhere(1.25)


def rig_is_ready(stage):
    """The rig becomes ready, sends its load, and its updater posts."""
    stage.apply("small/rig")
    for name in ("vegetaserver", "aggregator", "updater", "helloworldserver"):
        kube.rolled_out(name)
    with kube.Forward("deployment/aggregator", 8082) as board:
        until("a bot sends at its rate", 90,
              lambda: json.loads(board.get("/summary")[1])["throughput"] > 500)
    until("the updater has posted", 60, lambda: load.value_at("redis-api") != '{"current":1.25}')
    # The other checks post values of their own, and have their own load.
    kubectl("scale", "deployment", "updater", "vegetaserver", "--replicas=0")


def endpoint_is_ready(stage):
    """endpoint over naive becomes ready, and answers with a posted value."""
    applied(stage, "endpoint")
    stage.post(1.5)
    stage.everywhere(1.5)
    from_memory(stage)
    kubectl("delete", "networkpolicy", "external-redis")


def cascade_is_ready(stage):
    """cascade becomes ready: relays in sync, a posted value in every pod by way of them."""
    stage.apply("small/cascade")
    kube.rolled_out("redis-relay")
    kube.rolled_out("redis-api")
    stage.post(1.75)
    stage.everywhere(1.75)
    relays = [one["status"]["podIP"] for one in kube.pods("redis-relay")]
    service = kube.core("services", "redis-relay")["spec"]["clusterIP"]
    for pod in stage.api_pods():
        text = stage.redis(kube.name_of(pod), "info", "replication")
        master = re.search(r"^master_host:(\S+)", text, flags=re.M).group(1)
        if master not in relays + [service]:
            raise Failed(f"{kube.name_of(pod)} replicates from {master}, which is no relay")
    from_memory(stage)


def sidekick_is_ready(stage):
    """sidekick becomes ready: a replica beside every API process, in sync with the master."""
    applied(stage, "sidekick")
    # cascade's, if it was there before.
    kubectl("delete", "deployment,service,poddisruptionbudget,networkpolicy", "redis-relay",
            "--ignore-not-found")
    kubectl("delete", "networkpolicy", "redis-api-to-relay", "--ignore-not-found")
    for pod in stage.api_pods():
        if "redis-sidekick" not in kube.statuses(pod):
            raise Failed(f"{kube.name_of(pod)} has no container redis-sidekick")
        text = stage.redis(kube.name_of(pod), "info", "replication")
        if "master_link_status:up" not in text:
            raise Failed(f"{kube.name_of(pod)}: {text}")
    from_memory(stage)


def from_memory(stage):
    """Reads are tracked: the second one of a value asks nobody."""

    def one(pod):
        address = pod["status"]["podIP"]
        until(f"{kube.name_of(pod)} answers from memory", 30, lambda: load.value_at(address)
              and count_of(metrics_of(pod), "redis_api_tracked_hits_total") > 0)

    kube.in_parallel(one, stage.api_pods())


def applied(stage, overlay):
    stage.apply(f"small/{overlay}")
    kube.rolled_out("redis-api")
    reads = kube.deployment("redis-api")["metadata"]["labels"].get("redis-api-reads")
    if reads != overlay:
        raise Failed(f"redis-api-reads is {reads}, not {overlay}")


# --- the talk's commands ---


def talk_get(stage):
    """`get po -l app=redis-api` and `get svc` show the talk's names."""
    stage.settle()
    lines = kubectl("get", "po", "-l", "app=redis-api", "--no-headers").splitlines()
    running = [line for line in lines if re.search(r"\s(\d+)/\1\s+Running\s", line)]
    if len(lines) != 3 or len(running) != 3:
        raise Failed("\n".join(lines))
    services = kubectl("get", "svc")
    if not re.search(r"^redis-api +ClusterIP .* 8080/TCP", services, flags=re.M):
        raise Failed(services)


def talk_scripts(stage):
    """post.sh, get.sh and scale.sh do what they say."""
    stage.post(12.5)
    until("get.sh shows 12.5", 30,
          lambda: stage.script("get.sh").strip() == '{"current":12.5}')
    stage.script("scale.sh", "1500")
    if kube.deployment("vegetaserver")["spec"]["replicas"] != 2:
        raise Failed("scale.sh 1500 is not two bots")


def talk_scale(stage):
    """`scale deployment vegetaserver` and `scale deployment redis-api` are followed."""
    kubectl("scale", "deployment", "vegetaserver", "--replicas=1")
    kubectl("scale", "deployment", "redis-api", "--replicas=6")
    kube.rolled_out("redis-api")
    kube.rolled_out("vegetaserver")
    stage.everywhere(12.5)


def talk_top(stage):
    """`top po -l app=redis-api --containers` shows API and replica of every pod."""
    names = [kube.name_of(pod) for pod in stage.api_pods()]
    wanted = {(name, container) for name in names for container in ("redis-api", "redis-sidekick")}

    def shown():
        text = kubectl("top", "po", "-l", "app=redis-api", "--containers", "--no-headers")
        have = {tuple(line.split()[:2]) for line in text.splitlines()}
        if not wanted <= have:
            raise Failed(f"missing: {sorted(wanted - have)}")
        return text

    text = until("top shows them", 120, shown)
    (stage.artifacts / "top.txt").write_text(text)


def talk_dashboard(stage):
    """`port-forward deployment/aggregator 8082`: the dashboard, in Chromium, shows the load."""
    kubectl("scale", "deployment", "updater", "--replicas=1")
    file = stage.artifacts / "dashboard.png"
    try:
        with kube.Forward("deployment/aggregator", 8082) as board:
            with browser.Page(f"{board.url}/dashboard") as page:
                text = "document.getElementById('%s').textContent"
                number = f"Number({text}.replace(/[^0-9.]/g, ''))"
                page.wait("a bot is alive", f"{number % 'bots-alive'} === 1")
                page.wait("good answers come", f"{number % 'good'} > 500", 90)
                rows = "document.querySelectorAll('#pods tbody tr').length"
                page.wait("all pods are in its table", f"{rows} === {len(stage.api_pods())}")
                page.wait("the value is there", f"/[0-9]/.test({text % 'value'})")
                page.wait("the charts are drawn",
                          "[...document.querySelectorAll('[data-chart] img')]"
                          ".filter(img => img.complete && img.naturalWidth > 0).length === 4")
                page.picture(file)
            status, _ = board.get("/currency")
            if status != 200:
                raise Failed(f"/currency: {status}")
    finally:
        kubectl("scale", "deployment", "updater", "vegetaserver", "--replicas=0")
        kubectl("scale", "deployment", "redis-api", "--replicas=3")
    return str(file)


# Without these the others can't run.
SETUP = [namespace_is_there, master_is_ready, naive_is_ready, rig_is_ready, sidekick_is_ready]
CHECKS = [
    namespace_is_there,
    server_takes_every_overlay,
    gate_is_green,
    gate_refuses_what_is_broken,
    alerts_are_right,
    cloud_scripts_show_what_they_would_run,
    master_is_ready,
    naive_is_ready,
    rig_is_ready,
    endpoint_is_ready,
    cascade_is_ready,
    sidekick_is_ready,
    talk_get,
    talk_scripts,
    talk_scale,
    talk_top,
    talk_dashboard,
]
