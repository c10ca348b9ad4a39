"""4: roll-outs, a drain and a scale-up under load."""

import os

import kube
from kube import Failed, kubectl, until
from load import Load, shell_in
from stage import count_of, metrics_of


def restart_under_load(stage):
    """`rollout restart` under load: not one request fails."""
    stage.settle()
    with Load("restart") as attack:
        kubectl("rollout", "restart", "deployment", "redis-api")
        kube.rolled_out("redis-api")
    return attack.must_be_flawless()


def update_under_load(stage):
    """A new image and back, under load: not one request fails."""
    stage.settle()
    other = os.environ.get("IMAGE_NEXT", "")
    if not other:
        return "NOT RUN: IMAGE_NEXT names no other image"
    with Load("update") as attack:
        kubectl("set", "image", "deployment/redis-api", f"redis-api={other}")
        kube.rolled_out("redis-api")
        for pod in stage.api_pods():
            image = pod["spec"]["containers"][0]["image"]
            if image != other:
                raise Failed(f"{kube.name_of(pod)} runs {image}")
        kubectl("rollout", "undo", "deployment/redis-api")
        kube.rolled_out("redis-api")
    return attack.must_be_flawless()


def drain_under_load(stage):
    """A node's drain under load keeps to the budget: one pod at a time, not one request fails."""
    pods = stage.settle()
    node = pods[0]["spec"]["nodeName"]
    here = [kube.name_of(pod) for pod in pods if pod["spec"]["nodeName"] == node]
    alone = len(kube.api("/api/v1/nodes")["items"]) == 1
    with Load("drain") as attack:
        try:
            code, said = kubectl(
                "drain", node, "--pod-selector=app=redis-api", "--ignore-daemonsets",
                "--delete-emptydir-data", f"--timeout={'30s' if alone else '300s'}",
                check=False, timeout=330,
            )
            kept = [kube.name_of(pod) for pod in stage.api_pods()
                    if kube.name_of(pod) in here and kube.is_ready(pod)]
        finally:
            kubectl("uncordon", node)
        kube.rolled_out("redis-api")
    if alone:
        # The pod that went has nowhere else to go, so the budget must hold the others.
        if code == 0 or "disruption budget" not in said:
            raise Failed(f"the drain was not held up by the budget: {said[-500:]}")
        if len(kept) != len(here) - 1:
            raise Failed(f"{len(kept)} of {len(here)} pods were kept")
    elif code != 0:
        raise Failed(said[-500:])
    return attack.must_be_flawless() + ("; one node: the budget kept the others" if alone else "")


def new_pods_get_their_share(stage):
    """3 to 6 pods under keep-alive load: ageing gives the new ones their share."""
    old = {kube.name_of(pod) for pod in stage.settle()}
    rate = 320
    try:
        with Load("ageing", rate) as attack:
            kubectl("scale", "deployment", "redis-api", "--replicas=6")
            kube.rolled_out("redis-api")
            pods = stage.api_pods()
            new = [kube.name_of(pod) for pod in pods if kube.name_of(pod) not in old]

            def answered():
                counts = kube.in_parallel(metrics_of, pods)
                return [count_of(text, "redis_api_http_requests_total") for text in counts]

            last = answered()

            def shared():
                nonlocal last
                # Long enough for each of the 64 connections to be used some 30 times.
                wanted = sum(last) + 64 * 30
                now = until("requests are answered", 60,
                            lambda: (lambda seen: sum(seen) > wanted and seen)(answered()))
                moved = [b - a for a, b in zip(last, now)]
                last = now
                mean = sum(moved) / len(moved)
                # Of 64 connections thrown at six pods one gets ten, give or take three.
                short = [name for name, n in zip(map(kube.name_of, pods), moved)
                         if name in new and n < mean / 4]
                if short:
                    raise Failed(f"of {sum(moved):.0f} requests too few for {short}: {moved}")
                return moved

            # 60 s and a tenth for the last connection, and one look more.
            moved = until("each new pod has its share", 66 + 30, shared)
        share = ", ".join(f"{100 * n / sum(moved):.0f} %" for n in moved)
        return f"{share}; {attack.must_be_flawless()}"
    finally:
        kubectl("scale", "deployment", "redis-api", "--replicas=3")


STREAMS = 30

# A client of one stream, as EventSource is one: it opens it again a second after its end. What comes
# is kept in a file. HTTP/1.0, so that it comes without chunks. Nothing for 20 s, in which there
# must be a heartbeat, is told as `silent`.
STREAM = r"""
one() {
  while [ ! -e /load/streams/end ]; do
    (
      exec 3<>/dev/tcp/redis-api/8080 || exit
      printf 'GET / HTTP/1.0\r\nHost: suite\r\nAccept: text/event-stream\r\n\r\n' >&3
      while IFS= read -r -t 20 line <&3 || { status=$?; false; }; do
        printf '%s\n' "${line%$'\r'}"
      done
      [ "$status" -le 128 ] || echo silent
    ) 2>/dev/null
    sleep 1
  done >"/load/streams/$1"
}
rm -rf /load/streams && mkdir /load/streams
for at in $(seq "$1"); do one "$at" </dev/null >/dev/null 2>&1 & done
"""


def streams_through_a_restart(stage):
    """`rollout restart` under streams: each is open again and tells what is new, none is silent."""
    stage.settle()
    stage.post(31.5)
    stage.everywhere(31.5)
    shell_in("driver", STREAM, str(STREAMS))

    def all_tell(value):
        """Whether the last thing that each stream has said is this value."""
        said = shell_in("driver", "for at in /load/streams/*; do grep ^data: $at | tail -n 1; done")
        told = said.count(f'data: {{"current":{value}}}')
        if told != STREAMS:
            raise Failed(f"{told} of {STREAMS} streams tell {value}: {said}")
        return True

    try:
        until("all streams tell the value", 30, lambda: all_tell(31.5))
        kubectl("rollout", "restart", "deployment", "redis-api")
        kube.rolled_out("redis-api")
        stage.post(32.5)
        until("all streams tell what is new", 30, lambda: all_tell(32.5))
    finally:
        shell_in("driver", "touch /load/streams/end")
    lines = shell_in("driver", "cat /load/streams/[0-9]*").splitlines()
    opened = [line for line in lines if line.startswith("HTTP/1.1 ")]
    others = [line for line in opened if line != "HTTP/1.1 200 OK"]
    if others or "silent" in lines:
        raise Failed(f"{lines.count('silent')} were silent; other answers: {others[:5]}")
    # Every pod is another one.
    if len(opened) < 2 * STREAMS:
        raise Failed(f"{STREAMS} streams were opened only {len(opened)} times")
    return f"{STREAMS} streams, opened {len(opened)} times"


CHECKS = [restart_under_load, update_under_load, drain_under_load, new_pods_get_their_share]
# Not part of `core`.
SLOW = [streams_through_a_restart]
