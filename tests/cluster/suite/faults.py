"""3: values arrive, and what is killed, deleted or frozen harms nobody who needn't be harmed."""

import time

import kube
import load
from kube import Failed, kubectl, until
from load import Load


def values_arrive(stage):
    """A posted value arrives in every pod."""
    stage.settle()
    for value in (7.5, 7.25, 7.125):
        stage.post(value)
        stage.everywhere(value)


def sidecar_killed(stage):
    """A sidecar killed under load is back by itself, and never-synced data is never answered."""
    pods = stage.settle()
    stage.post(21.5)
    stage.everywhere(21.5)
    victim = kube.name_of(pods[0])
    before = kube.restarts(pods[0])
    with Load("sidecar-killed") as attack:
        load.signal(pods[0], "redis-sidekick", "KILL", stage.shell_image)
        until("the sidecar has been started again", 60,
              lambda: kube.restarts(kube.pod(victim))["redis-sidekick"]
              > before["redis-sidekick"])
        until("its pod is ready again", 90, lambda: kube.is_ready(kube.pod(victim)))
        until("and answers", 30, lambda: load.value_at(pods[0]["status"]["podIP"])
              == '{"current":21.5}')
    unchanged(victim, before, but="redis-sidekick")
    return answers_are(attack, '{"current":21.5}', allowed=(503,))


def unchanged(name, before, but=""):
    """No container of the pod has been restarted but that one."""
    now = kube.restarts(kube.pod(name))
    for container, count in before.items():
        if container != but and now[container] != count:
            raise Failed(f"{name}: {container} was restarted too")


def answers_are(attack, wanted, allowed=()):
    """Each 200 carries that body; no other status than those allowed came."""
    sent, good, others = 0, 0, {}
    for code, error, body in attack.answers():
        sent += 1
        if code == 200 and body == wanted:
            good += 1
        elif code in allowed:
            others[code] = others.get(code, 0) + 1
        else:
            raise Failed(f"an answer was {code} {error} {body!r}")
    # A third of the connections, more or less, is the victim's.
    if sent < 500 or good < sent / 3:
        raise Failed(f"only {good} good answers of {sent}")
    return f"{good} good answers" + "".join(f", {n} x {code}" for code, n in others.items())


def master_deleted(stage):
    """The master's pod deleted: pods stay ready and serve; writes and the old value come back."""
    pods = stage.settle()
    stage.post(33.5)
    stage.everywhere(33.5)
    before = {kube.name_of(pod): (kube.restarts(pod), kube.condition(pod)["lastTransitionTime"])
              for pod in pods}
    old = kube.pod("redis-master-0")["metadata"]["uid"]
    with Load("master-deleted") as attack:
        kubectl("delete", "pod", "redis-master-0", "--wait=false")

        def back():
            now = kube.pod("redis-master-0")
            return now["metadata"]["uid"] != old and kube.is_ready(now)

        until("a new master is ready", 150, back)
        kept = stage.master("hget", "currency", "current-value").strip()
        if kept != "33.5":
            raise Failed(f"the new master has {kept!r}, not the old value")
        stage.post(34.5)
        # Whoever reads now reads the new value: the links came back by themselves.
        stage.everywhere(34.5, 60)
    for name, (counts, since) in before.items():
        unchanged(name, counts)
        if kube.condition(kube.pod(name))["lastTransitionTime"] != since:
            raise Failed(f"{name} was unready meanwhile")
    codes = {code for code, _, _ in attack.answers()}
    if codes != {200}:
        raise Failed(f"reads failed: {sorted(codes)}")
    bodies = {body for _, _, body in attack.answers()}
    if not bodies <= {'{"current":33.5}', '{"current":34.5}'}:
        raise Failed(f"reads were wrong: {sorted(bodies)}")
    return attack.must_be_flawless()


def frozen_processes(stage):
    """A frozen API is restarted by liveness; a frozen Redis restarts nothing."""
    pods = stage.settle()
    api, redis, image = pods[0], pods[1], stage.shell_image
    before = {kube.name_of(pod): kube.restarts(pod) for pod in pods}
    # How long liveness takes on the frozen API is how long it is given for the frozen Redis.
    load.signal(redis, "redis-sidekick", "STOP", image)
    try:
        load.signal(api, "redis-api", "STOP", image)
        begun = time.monotonic()
        until("the pod of the frozen Redis is unready", 60,
              lambda: not kube.is_ready(kube.pod(kube.name_of(redis))))
        until("the frozen API has been restarted", 150,
              lambda: kube.restarts(kube.pod(kube.name_of(api)))["redis-api"]
              > before[kube.name_of(api)]["redis-api"])
        took = time.monotonic() - begun
    finally:
        load.signal(redis, "redis-sidekick", "CONT", image)
    until("both pods are ready again", 90,
          lambda: all(kube.is_ready(kube.pod(kube.name_of(one))) for one in (api, redis)))
    for pod in pods:
        name = kube.name_of(pod)
        unchanged(name, before[name], but="redis-api" if pod is api else "")
    return f"the API was back after {took:.0f} s"


CHECKS = [values_arrive, sidecar_killed, master_deleted, frozen_processes]
