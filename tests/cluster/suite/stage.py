"""What every check stands on: a copy of deploy/, the namespace, Secrets, a volume, the driver."""

import os
import pathlib
import re
import secrets
import shutil

import kube
import load
from kube import NAMESPACE, OUTSIDE, Failed, kubectl, run, until

PROJECT = pathlib.Path(__file__).resolve().parents[3]
# The talk's overlays, in the form for small machines.
OVERLAYS = ("naive", "endpoint", "cascade", "sidekick")
# On the namespace: what the suite finds there is its own, and may be deleted.
MARK = "redis-api-suite"


class Stage:
    """One run's files and names."""

    def __init__(self, folder, artifacts):
        self.folder = pathlib.Path(folder)
        self.deploy = self.folder / "deploy"
        self.artifacts = pathlib.Path(artifacts)
        self.images = {}
        self.passwords = {name: secrets.token_hex(24)
                          for name in ("REDIS_PASS", "REDIS_ADMIN_PASS", "WRITE_TOKEN")}

    # --- files

    def prepare_files(self):
        """So that no file of the clone changes, and no user's env.secret is read."""
        ours = shutil.ignore_patterns("env.secret", "ca", "ca.next", ".check.*")
        shutil.copytree(PROJECT / "deploy", self.deploy, ignore=ours)
        names = self.deploy / "components/images/kustomization.yaml"
        text = names.read_text()
        for image, given in kube.settings().items():
            pattern = rf"\{{name: {image}, newName: ([^,]+), (newTag|digest): \"?([^\"}}]+)\"?\}}"
            match = re.search(pattern, text)
            if not match:
                raise Failed(f"{names}: {image} is not named as expected")
            if given:
                name, tag = re.fullmatch(r"(.+?)(?::([^:/]+))?", given).groups()
                text = text.replace(
                    match.group(0), f'{{name: {image}, newName: {name}, newTag: "{tag}"}}'
                )
            mark = "@" if match.group(2) == "digest" else ":"
            self.images[image] = given or f"{match.group(1)}{mark}{match.group(3)}"
        names.write_text(text)
        example = (self.deploy / "env.secret.example").read_text()
        for name, value in self.passwords.items():
            example = re.sub(rf"^{name}=.*$", f"{name}={value}", example, flags=re.M)
        # So that `endpoint` has something to read from.
        example = re.sub(r"^REDIS_READ_ADDR=.*$", "REDIS_READ_ADDR=redis-master:6379", example,
                         flags=re.M)
        (self.deploy / "env.secret").write_text(example)
        # `config set-context` changes the file that it is in.
        copy = self.folder / "kubeconfig"
        copy.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten"))
        copy.chmod(0o600)
        os.environ["KUBECONFIG"] = str(copy)
        os.environ["NAMESPACE"] = NAMESPACE

    @property
    def shell_image(self):
        return self.images["valkey/valkey"]

    def script(self, name, *args, **how):
        return run(str(self.deploy / "scripts" / name), *args, **how)

    def apply(self, folder):
        return kubectl("apply", "-k", str(self.deploy / folder))

    # --- the cluster

    def prepare_cluster(self):
        code, found = kubectl("get", "namespace", NAMESPACE, "--ignore-not-found",
                              "-o", "jsonpath={.metadata.name} {.metadata.labels}", check=False)
        if code != 0:
            raise Failed(f"no cluster: {found.strip()[-500:]}")
        if found.strip() and MARK not in found:
            raise Failed(
                f"the namespace {NAMESPACE} is there already, and isn't the suite's: it will not "
                f"touch it (to take it away: deploy/scripts/stop-cluster.sh current)"
            )
        self.clean_up()
        self.script("start-cluster.sh", "current", "1", "--yes")
        kubectl("label", "namespace", NAMESPACE, f"{MARK}=true", "--overwrite")
        kubectl("create", "namespace", OUTSIDE)
        kubectl("label", "namespace", OUTSIDE, f"{MARK}=true",
                "pod-security.kubernetes.io/enforce=privileged")
        # The same three, in the runbook's order.
        for name in ("configmap-redis.sh", "secret-redis.sh", "secret-redis-tls.sh"):
            self.script(name)
        self.make_volume()

    def make_volume(self):
        """For the master, where no storage class makes one."""
        for one in kube.api("/apis/storage.k8s.io/v1/storageclasses")["items"]:
            notes = one["metadata"].get("annotations", {})
            if notes.get("storageclass.kubernetes.io/is-default-class") == "true":
                return
        node = kube.name_of(kube.api("/api/v1/nodes")["items"][0])
        tool = load.tool_on(node, self.shell_image)
        load.shell_in(tool, "rm -rf /data/* && chown 65532:65532 /data && chmod 700 /data",
                      namespace=OUTSIDE)
        load.apply({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": MARK, "labels": {MARK: "true"}},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/var/lib/redis-api-suite"},
                "claimRef": {"namespace": NAMESPACE, "name": "data-redis-master-0"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
                ]}]}},
            },
        })

    def clean_up(self):
        """Both namespaces and the volume. Deleting waits until they are gone."""
        for name in (NAMESPACE, OUTSIDE):
            labels = kubectl("get", "namespace", name, "--ignore-not-found",
                             "-o", "jsonpath={.metadata.labels}")
            if MARK in labels:
                kubectl("delete", "namespace", name, "--timeout=150s")
        kubectl("delete", "persistentvolume", "-l", MARK, "--ignore-not-found", "--timeout=60s")
        load.forget_tools()

    # --- states that checks start from

    def api_pods(self):
        return kube.pods("redis-api")

    def settle(self, replicas=3):
        """That many API pods, of the last form, ready; nothing draining."""
        if kube.deployment("redis-api")["spec"]["replicas"] != replicas:
            kubectl("scale", "deployment", "redis-api", f"--replicas={replicas}")
        kube.rolled_out("redis-api")
        until("all pods are ready", 60, lambda: all(map(kube.is_ready, self.api_pods())))
        return self.api_pods()

    def post(self, value):
        """By post.sh, until it says that the value is stored."""

        def posted():
            said = self.script("post.sh", str(value)).strip()
            if said != f'{{"current":{value}}}':
                raise Failed(said)
            return True

        until(f"{value} is stored", 60, posted)

    def everywhere(self, value, seconds=30):
        """Each pod answers with the value."""
        wanted = f'{{"current":{value}}}'

        def one(pod):
            until(f"{kube.name_of(pod)} answers {wanted}", seconds,
                  lambda: load.value_at(pod["status"]["podIP"]) == wanted)

        kube.in_parallel(one, self.api_pods())

    def redis(self, pod, *words):
        """redis-cli beside a replica."""
        return kube.execute(pod, "redis-sidekick", "redis-cli", "-s", "/run/redis/redis.sock",
                            *words)

    def master(self, *words):
        """redis-cli beside the master, as its admin; the password comes from the mounted file."""
        return kube.execute(
            "redis-master-0", "redis", "sh", "-c",
            "REDISCLI_AUTH=$(cat /etc/redis-api/secret/admin-password) && export REDISCLI_AUTH && "
            'exec redis-cli -s /run/redis/redis.sock --user admin --no-auth-warning "$@"',
            "sh", *words,
        )


def count_of(metrics, name):
    """The sum of a counter over its labels, from Prometheus text. (None are there before the first
    request.)"""
    return sum(map(float, re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", metrics, flags=re.M)))


def metrics_of(pod):
    """By a port-forward, which no policy sees."""
    with kube.Forward(f"pod/{kube.name_of(pod)}", 9090) as forward:
        status, text = forward.get("/metrics")
    if status != 200:
        raise Failed(f"/metrics: {status}")
    return text
