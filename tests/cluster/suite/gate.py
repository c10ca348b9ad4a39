"""What the API server accepts and is wrong all the same, and proof that each of it is found."""

import copy
import json
import os
import shutil

import kube
from kube import Failed, run

# Clients of other owners, whom policies name and no manifest here has.
STRANGERS = ["redis-api-client"]


def manifests(folder):
    """The objects of a kustomization, as a list."""
    text = run("kubectl", "kustomize", folder)
    found = run("kubectl", "create", "--dry-run=client", "--validate=false", "-o", "json",
                "-f", "-", stdin=text)
    # (One object after another, or a list: as kubectl likes.)
    decoder, objects, at = json.JSONDecoder(), [], 0
    while at < len(found):
        one, end = decoder.raw_decode(found, at)
        objects += one["items"] if one["kind"] == "List" else [one]
        at = end
        while at < len(found) and found[at].isspace():
            at += 1
    return objects


def server_takes(objects):
    """A dry run on the server, in which a warning is an error."""
    run("kubectl", "apply", "--dry-run=server", "--warnings-as-errors", "-f", "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def kube_score(objects):
    program = shutil.which("kube-score") or os.environ.get("KUBE_SCORE", "")
    if not program:
        raise Failed("kube-score is not installed")
    text = "\n---\n".join(json.dumps(one) for one in objects)
    _, said = run(
        program, "score", "--kubernetes-version", "v1.35", "--output-format", "ci",
        "--enable-optional-test", "container-seccomp-profile",
        "--enable-optional-test", "container-ports-check", "-", stdin=text, check=False,
    )
    return [line for line in said.splitlines() if line.startswith(("[CRITICAL]", "[WARNING]"))]


def matches(selector, labels):
    if not selector:
        return True
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        has, values = labels.get(rule["key"]), rule.get("values", [])
        if rule["operator"] == "In" and has not in values:
            return False
        if rule["operator"] == "NotIn" and has in values:
            return False
        if rule["operator"] == "Exists" and has is None:
            return False
    return True


class Look:
    """All findings about these objects, as sentences."""

    def __init__(self, objects):
        self.objects = objects
        self.findings = []
        self.templates = [
            (one, one["spec"]["template"])
            for one in objects
            if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet")
        ]
        for one in objects:
            at = getattr(self, "_" + one["kind"].lower(), None)
            if at:
                at(one)
        for one, template in self.templates:
            self._workload(one, template["spec"])

    def _say(self, one, text):
        self.findings.append(f"{one['kind']} {kube.name_of(one)}: {text}")

    def _selected(self, selector):
        return [t for _, t in self.templates if matches(selector, t["metadata"].get("labels", {}))]

    # --- selectors and ports

    def _service(self, one):
        found = self._selected({"matchLabels": one["spec"].get("selector", {})})
        if not one["spec"].get("selector") or not found:
            self._say(one, "its selector matches no pod")
        for port in one["spec"]["ports"]:
            if not port.get("name"):
                self._say(one, f"port {port['port']} has no name")
            target = port.get("targetPort", port["port"])
            for template in found:
                ports = [p for c in containers(template["spec"]) for p in c.get("ports", [])]
                if target not in sum([[p.get("name"), p["containerPort"]] for p in ports], []):
                    self._say(one, f"no container has the port {target}")

    def _poddisruptionbudget(self, one):
        if not self._selected(one["spec"]["selector"]):
            self._say(one, "its selector matches no pod")

    def _networkpolicy(self, one):
        spec = one["spec"]
        if spec["podSelector"] and not self._selected(spec["podSelector"]):
            self._say(one, "it is about no pod")
        peers = [p for rule in spec.get("ingress", []) for p in rule.get("from", [])]
        peers += [p for rule in spec.get("egress", []) for p in rule.get("to", [])]
        for peer in peers:
            selector = peer.get("podSelector")
            named = (selector or {}).get("matchLabels", {})
            if selector is None or "namespaceSelector" in peer or set(named) & set(STRANGERS):
                continue
            if not self._selected(selector):
                self._say(one, f"it names pods that don't exist: {json.dumps(selector)}")

    def _horizontalpodautoscaler(self, one):
        target = one["spec"]["scaleTargetRef"]
        for owner, template in self.templates:
            if (owner["kind"], kube.name_of(owner)) != (target["kind"], target["name"]):
                continue
            names = [c["name"] for c in containers(template["spec"])]
            for metric in one["spec"]["metrics"]:
                wanted = metric.get("containerResource", {}).get("container")
                if wanted and wanted not in names:
                    self._say(one, f"there is no container {wanted}")
            if "replicas" in owner["spec"]:
                self._say(one, "its target sets the number of replicas too")
            return
        self._say(one, "there is nothing of that name to scale")

    # --- pods

    def _workload(self, one, spec):
        if spec.get("enableServiceLinks", True):
            self._say(one, "enableServiceLinks is on")
        if spec.get("automountServiceAccountToken", True):
            self._say(one, "its pods get a token of the API server")
        mounted = set()
        for container in containers(spec):
            self._container(one, container)
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        claims = {c["metadata"]["name"] for c in one["spec"].get("volumeClaimTemplates", [])}
        for volume in spec.get("volumes", []):
            if volume["name"] not in mounted:
                self._say(one, f"nobody mounts the volume {volume['name']}")
            self._volume(one, volume)
        for name in mounted - claims - {volume["name"] for volume in spec.get("volumes", [])}:
            self._say(one, f"there is no volume {name}")
        if one["kind"] == "Deployment" and kube.name_of(one) == "redis-api":
            self._drain(one, spec)

    def _container(self, one, container):
        name = container["name"]
        image = container.get("image", "").rsplit("/", 1)[-1]
        if ":" not in image or image.endswith(":latest"):
            self._say(one, f"{name} has an image without a tag that stays")
        for kind in ("requests", "limits"):
            for what in ("cpu", "memory"):
                if what not in container.get("resources", {}).get(kind, {}):
                    self._say(one, f"{name} has no {what} in its {kind}")
        for port in container.get("ports", []):
            if not port.get("name"):
                self._say(one, f"port {port['containerPort']} of {name} has no name")
        ports = [port.get("name") for port in container.get("ports", [])]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(port, str) and port not in ports:
                self._say(one, f"the {probe} of {name} asks a port {port} that it has not")
        for env in container.get("env", []):
            source = env.get("valueFrom") or {}
            for kind in ("configMapKeyRef", "secretKeyRef"):
                if kind in source and not source[kind].get("optional"):
                    self._there(one, kind[:-6], source[kind]["name"], source[kind]["key"])

    def _volume(self, one, volume):
        for part in volume.get("projected", {}).get("sources", []) + [volume]:
            if "secret" in part:
                secret = part["secret"]
                self._there(one, "secret", secret.get("secretName") or secret.get("name"))
            if "configMap" in part:
                self._there(one, "configMap", part["configMap"]["name"])

    def _there(self, one, kind, name, key=None):
        """In the manifests, or, as the scripts make it, in the cluster."""
        for other in self.objects:
            if other["kind"].lower() == kind.lower() and kube.name_of(other) == name:
                data = other.get("data", {})
                break
        else:
            try:
                data = kube.core(kind.lower() + "s", name).get("data", {})
            except Failed:
                self._say(one, f"the {kind} {name} is missing")
                return
        if key is not None and key not in data:
            self._say(one, f"the {kind} {name} has no {key}")

    def _drain(self, one, spec):
        env = {e["name"]: e.get("value", "") for c in containers(spec) for e in c.get("env", [])}
        drain = sum(int(env.get(f"REDIS_API_DRAIN_{part}", "0s").rstrip("s"))
                    for part in ("DELAY", "TIMEOUT"))
        grace = spec.get("terminationGracePeriodSeconds", 30)
        if not drain or drain + 5 > grace:
            self._say(one, f"its drain takes {drain} s, and 5 s for the sidecars: over {grace} s")
        if one["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            self._say(one, "a roll-out takes away capacity (maxUnavailable)")


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def refuse_if_bad(objects):
    """The whole gate."""
    findings = Look(objects).findings
    server_takes(objects)
    findings += kube_score(objects)
    if findings:
        raise Failed("\n".join(findings))


# --- the proof ---


def breakages():
    """What to break, and how, in the overlay sidekick with hpa, rig and master beside it."""

    def api(one):
        return one["kind"] == "Deployment" and kube.name_of(one) == "redis-api"

    def of(kind, name="redis-api"):
        return lambda one: one["kind"] == kind and kube.name_of(one) == name

    def spec(one):
        return one["spec"]["template"]["spec"]

    def main(one):
        return spec(one)["containers"][0]

    def put(path, value):
        def change(one):
            for step in path[:-1]:
                one = one[step]
            one[path[-1]] = value
        return change

    def volume(one):
        found = [v for v in spec(one)["volumes"] if "secret" in v]
        found[0]["secret"]["secretName"] = "reddis"

    def key(one):
        for env in main(one)["env"]:
            if env["name"] == "REDIS_ADDR_WRITE":
                env["valueFrom"]["configMapKeyRef"]["key"] = "address"

    def limits(one):
        main(one)["resources"]["limits"]["cpu"] = "10m"

    def root(one):
        spec(one)["securityContext"].pop("runAsNonRoot")
        spec(one)["securityContext"]["runAsUser"] = 0

    return [
        ("a Service that selects nothing", of("Service"), put(["spec", "selector"], {"app": "x"})),
        ("a port of a Service without a name", of("Service"),
         lambda one: one["spec"]["ports"][0].pop("name")),
        ("a Service that leads to no port", of("Service"),
         lambda one: one["spec"]["ports"][0].update(targetPort="htpp")),
        ("a policy about no pod", of("NetworkPolicy"),
         put(["spec", "podSelector"], {"matchLabels": {"app": "redis"}})),
        ("a policy that names no pod", of("NetworkPolicy"),
         lambda one: one["spec"]["egress"][0].update(
             to=[{"podSelector": {"matchLabels": {"app": "master"}}}])),
        ("a budget about no pod", of("PodDisruptionBudget"),
         put(["spec", "selector"], {"matchLabels": {"app": "api"}})),
        ("a Secret that is missing", api, volume),
        ("a key that the ConfigMap lacks", api, key),
        ("a probe of a port that is not there", api,
         lambda one: main(one)["readinessProbe"]["httpGet"].update(port="admni")),
        ("a limit below its request", api, limits),
        ("no memory limit", api, lambda one: main(one)["resources"]["limits"].pop("memory")),
        ("a pod that runs as root", api, root),
        ("an image without a tag", api, lambda one: main(one).update(image="redis-api")),
        ("a root file system that can be written", api,
         lambda one: main(one)["securityContext"].update(readOnlyRootFilesystem=False)),
        ("a drain longer than the grace period", api,
         lambda one: spec(one).update(terminationGracePeriodSeconds=20)),
        ("a member that Kubernetes does not know", api,
         lambda one: main(one).update(readynessProbe={})),
        ("an autoscaler of a container that is not there", of("HorizontalPodAutoscaler"),
         lambda one: one["spec"]["metrics"][0]["containerResource"].update(container="api")),
    ]


def broken_ones_pass(objects):
    """Which of the broken variants the gate lets through: none should be."""
    passed = []
    for title, which, change in breakages():
        broken = copy.deepcopy(objects)
        targets = [one for one in broken if which(one)]
        if len(targets) != 1:
            raise Failed(f"{title}: {len(targets)} objects to break")
        change(targets[0])
        try:
            refuse_if_bad(broken)
            passed.append(title)
        except Failed:
            pass
    return passed
