"""9: pods killed at random under load, and the master cut off: nothing wrong, nothing lost.

CHAOS_MINUTES is how long pods are killed, CHAOS_SEED chooses which and how.
"""

import base64
import json
import os
import pathlib
import random
import subprocess
import threading
import time

import judge
import kube
import load
from judge import Fault
from kube import NAMESPACE, Failed, kubectl, until
from load import Load

MINUTES = float(os.environ.get("CHAOS_MINUTES", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
# Between two kills, and how long the master is cut off, in seconds.
PAUSE = 20
CUT = 30

FIELDS = [f"f{number}" for number in range(20)]
# Seconds between two versions, each of the next field.
STEP = 0.1
KEPT, NEW, POSTS = 200, 20, 10

# --- load


def targets_of_reads():
    names = [f"c{number}" for number in range(load.CONNECTIONS)]
    # Each field on each fourth connection.
    count = 5 * len(names)
    return "".join(f"GET http://{names[at % len(names)]}:8080/{FIELDS[at % len(FIELDS)]}\n"
                   for at in range(count))


def targets_of_posts(stage, count):
    """Each to another field, of another value; the query, which nobody reads, repeats it."""
    token = {"Authorization": [f"Bearer {stage.passwords['WRITE_TOKEN']}"]}

    def target(at):
        body = base64.b64encode(f'{{"value":{at}}}'.encode()).decode()
        url = f"http://c{at % load.CONNECTIONS}:8080/w{at}?{at}"
        return json.dumps({"method": "POST", "url": url, "body": body, "header": token}) + "\n"

    return "".join(map(target, range(count)))


class Versions:
    """Writes a version of one field after another, on the master itself."""

    def __init__(self, history):
        self.history = history
        self.error = None
        self.stopped = threading.Event()
        # pylint: disable=consider-using-with
        self.cli = subprocess.Popen(
            ["kubectl", "-n", NAMESPACE, "exec", "-i", "redis-master-0", "-c", "redis", "--",
             "sh", "-c", "REDISCLI_AUTH=$(cat /etc/redis-api/secret/admin-password) && "
             "export REDISCLI_AUTH && "
             "exec redis-cli -s /run/redis/redis.sock --user admin --no-auth-warning"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        value = 0
        while not self.stopped.wait(STEP):
            field, value = FIELDS[value % len(FIELDS)], value + 1
            sent = time.time()
            try:
                self.cli.stdin.write(f"HSET currency {field} {value}\n")
                self.cli.stdin.flush()
                said = self.cli.stdout.readline().strip()
            except OSError as error:
                said = str(error)
            if said not in ("0", "1"):
                self.error = said or "redis-cli has ended"
                return
            self.history.add(field, value, sent, time.time())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(10)
        self.cli.kill()
        self.cli.wait(10)


# --- kills


class Kills:
    """Pods killed at random, each of them watched until all is well again."""

    def __init__(self, stage):
        self.stage = stage
        self.random = random.Random(SEED)
        self.faults = []
        self.watchers = []
        self.errors = []

    def run(self, seconds):
        """Every other one as Kubernetes itself would do it, when nothing may fail at all."""
        begun = time.monotonic()
        for number in range(max(1, round(seconds / PAUSE))):
            time.sleep(max(0, begun + number * PAUSE - time.monotonic()))
            ways = [self.delete] if number % 2 == 0 else [self.force, self.process, self.replica]
            self.random.choice(ways)(self.victim())
        for watcher in self.watchers:
            watcher.join(150)
        if self.errors:
            raise self.errors[0]

    def victim(self):
        ready = until("a pod is ready", 60, lambda: list(
            filter(kube.is_ready, self.stage.api_pods())))
        ready.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], kube.name_of(pod)))
        return self.random.choice(ready)

    def watch(self, what, began, well, **allowed):
        """`allowed`: as of a Fault, with times in seconds after it is mended."""

        def one():
            try:
                until(f"all is well after: {what}", 120, well)
            except Exception as error:  # pylint: disable=broad-except
                self.errors.append(error)
            mended = time.time()
            for name in allowed:
                if name.endswith("_until"):
                    allowed[name] += mended
            self.faults.append(Fault(what, began, mended, **allowed))

        self.watchers.append(threading.Thread(target=one))
        self.watchers[-1].start()

    def replaced(self, victim):
        def well():
            pods = self.stage.api_pods()
            others = [pod for pod in pods if kube.name_of(pod) != kube.name_of(victim)]
            return len(others) == len(pods) == 3 and all(map(kube.is_ready, pods))

        return well

    def restarted(self, victim, container, well):
        """Or gone, because a later kill met the same pod."""
        name, before = kube.name_of(victim), kube.restarts(victim)[container]

        def probe():
            now = [pod for pod in self.stage.api_pods() if kube.name_of(pod) == name]
            return not now or (kube.restarts(now[0])[container] > before and well(now[0]))

        return probe

    def delete(self, victim):
        began = time.time()
        kubectl("delete", "pod", kube.name_of(victim), "--wait=false")
        self.watch("pod deleted", began, self.replaced(victim))

    def force(self, victim):
        began = time.time()
        kubectl("delete", "pod", kube.name_of(victim), "--grace-period=0", "--force")
        self.watch("pod deleted by force", began, self.replaced(victim), reads=(0,), posts=(0,),
                   reads_until=0, posts_until=0)

    def process(self, victim):
        began = time.time()
        load.signal(victim, "redis-api", "KILL", self.stage.shell_image)
        # It listens, and is not ready yet, before the Service has forgotten it.
        self.watch("API killed", began, self.restarted(victim, "redis-api", kube.is_ready),
                   reads=(0, 503), posts=(0, 503), reads_until=judge.READS_BACK,
                   posts_until=judge.READS_BACK)

    def replica(self, victim):
        began, name = time.time(), kube.name_of(victim)
        load.signal(victim, "redis-sidekick", "KILL", self.stage.shell_image)
        self.watch("replica killed", began, self.restarted(
            victim, "redis-sidekick",
            lambda _: "master_link_status:up" in self.stage.redis(name, "info", "replication"),
        ), reads=(503,), reads_until=judge.READS_BACK)


# --- the master cut off


def by_policy(stage):
    """A policy that lets nobody in. What stands goes on, as in most networks: the master ends it.
    """
    before = kube.core("networkpolicies", "redis-master", group="apis/networking.k8s.io/v1")

    def allow(ingress):
        kubectl("patch", "networkpolicy", "redis-master", "--type=merge", "-p",
                json.dumps({"spec": {"ingress": ingress}}))

    def is_cut():
        for user in ("redis-api", "redis-replica"):
            stage.master("client", "kill", "user", user)
        # Long enough for all to try again.
        time.sleep(2)
        clients = stage.master("client", "list")
        return "user=redis-api" not in clients and "user=redis-replica" not in clients

    allow([])
    try:
        until("nobody gets in", 30, is_cut)
    except Failed:
        allow(before["spec"]["ingress"])
        raise
    return lambda: allow(before["spec"]["ingress"])


def by_dropping(stage):
    """Each packet from or to the master is dropped on its node, and nobody is told."""
    master = kube.pod("redis-master-0")
    address = master["status"]["podIP"]

    def change(how):
        for side in ("-s", "-d"):
            load.on_node(master, stage.shell_image, 'nsenter -t 1 -m -n iptables -w "$@"',
                         how, "FORWARD", side, address, "-j", "DROP")

    change("-I")
    return lambda: change("-D")


CUTS = {"master cut off by policy": by_policy, "packets to the master dropped": by_dropping}


class Cut:
    """Cuts, restores, and waits until what is promised must be true."""

    def __init__(self, stage, what):
        began = time.time()
        restore = CUTS[what](stage)
        try:
            # From here to there no post can be stored.
            self.whole = time.time()
            time.sleep(CUT)
            self.end = time.time()
        finally:
            restore()
        mended = time.time()
        self.watched = mended + max(judge.WRITES_BACK, judge.FRESH_BACK) + 5
        time.sleep(self.watched - mended)
        hidden = mended + judge.FRESH_BACK if CUTS[what] is by_dropping else 0
        self.fault = Fault(what, began, mended, posts=(503, 504), hidden_until=hidden,
                           posts_until=mended + judge.WRITES_BACK)

    def holds(self, verdict):
        """Raises Failed if it was none, or what was promised of it did not come."""
        reads, posts = verdict.between(self.whole, self.end)
        # (One that began at the very end may have waited for the master to be reached.)
        stored = [row for row in posts if row[1] == 200 and row[0] + row[3] < self.end]
        if stored or not any(row[1] == "aged" for row in reads):
            raise Failed(f"{self.fault.what}: it was not cut off: {stored[:3]}")
        late = [row for row in verdict.between(self.fault.mended, self.watched)[0]
                if row[1] == "aged" and row[0] > self.fault.mended + judge.FRESH_BACK]
        if late:
            raise Failed(f"{self.fault.what}: {len(late)} reads were not fresh again in time")


# --- the check


def chaos(stage):
    """Chaos: pods killed at random and the master cut off, under load: nothing wrong, none lost."""
    print(f"      CHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES:g}", flush=True)
    # Each post is to a field of its own.
    kubectl("set", "env", "deployment/redis-api", "-c", "redis-api", "REDIS_API_MAX_FIELDS=100000")
    try:
        return run_chaos(stage)
    finally:
        stage.apply("small/sidekick")
        stage.master("del", "currency")
        stage.settle()


def run_chaos(stage):
    """All but the cleaning up."""
    stage.settle()
    stage.master("del", "currency")
    seconds = MINUTES * 60
    count = int((seconds + 3 * (CUT + 60) + 600) * POSTS)
    write_file("chaos-reads", targets_of_reads())
    write_file("chaos-posts", targets_of_posts(stage, count))
    history, kills = judge.History(), Kills(stage)
    with Versions(history) as versions:
        until("each field is in each replica", 30, lambda: all(
            int(stage.redis(kube.name_of(pod), "hlen", "currency")) == len(FIELDS)
            for pod in stage.api_pods()))
        limit = ("-timeout", f"{judge.LONGEST}s")
        with Load("chaos-kept", KEPT, "/load/chaos-reads", limit) as kept, \
                Load("chaos-new", NEW, "/load/chaos-reads",
                     (*limit, "-keepalive=false")) as new, \
                Load("chaos-posts", POSTS, "/load/chaos-posts",
                     (*limit, "-format", "json")) as writes:
            kills.run(seconds)
            stage.settle()
            cuts = [Cut(stage, what) for what in (*CUTS, next(iter(CUTS)))]
        if versions.error:
            raise Failed(f"a version was not written: {versions.error}")
    faults = kills.faults + [cut.fault for cut in cuts]
    verdict = judge.Verdict(faults)
    reads, posts, stored = list(kept.records()), list(writes.records()), stored_on(stage)
    verdict.judge_reads(history, reads)
    verdict.judge_reads(history, new.records())
    verdict.judge_posts(posts, stored)
    spans = spans_of(verdict.faults, cuts)
    told = judge.write(folder_of(stage), verdict, spans,
                       {"CHAOS_SEED": SEED, "CHAOS_MINUTES": f"{MINUTES:g}"})
    if verdict.wrong or verdict.lost:
        raise Failed(f"{len(verdict.wrong)} wrong answers, {len(verdict.lost)} lost writes:\n" +
                     "\n".join(verdict.wrong[:20] + verdict.lost[:20]))
    for fault, end in spans:
        failed = sum(row[1] == 0 for row in verdict.between(fault.began, end)[0])
        if failed > judge.MOST_FAILED:
            raise Failed(f"{fault.what}: {failed} connections have failed")
    for cut in cuts:
        cut.holds(verdict)
    good = [next(one for one in answers if one.code == 200) for answers in (reads, posts)]
    passed = judge.refuses_what_is_wrong(history, *good, stored)
    if passed:
        raise Failed(f"the judge lets through: {passed}")
    stage.post(46.5)
    stage.everywhere(46.5)
    return told


def spans_of(faults, cuts):
    """Until when what came is counted as of a fault: until the next, if not before."""
    ends = {cut.fault: cut.watched for cut in cuts}
    nexts = [fault.began for fault in faults[1:]] + [float("inf")]
    return [(fault, min(following, ends.get(fault, fault.began + PAUSE)))
            for fault, following in zip(faults, nexts)]


def folder_of(stage):
    folder = pathlib.Path(os.environ.get("RESULTS", stage.artifacts))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_file(name, text):
    """Into the driver's memory of this run alone."""
    load.shell_in("driver", f"umask 077 && cat >/load/{name}", stdin=text)


def stored_on(stage):
    """All fields of the master."""
    lines = stage.master("hgetall", "currency").split()
    return dict(zip(lines[::2], lines[1::2]))


CHECKS = [chaos]
