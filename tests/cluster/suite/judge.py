"""What may be answered while pods are killed and the master is cut off: for chaos.py.

It is told what the master had and when, what each request got, and what was broken meanwhile. All
times are Unix seconds. It asks nobody anything.
"""

import bisect
import collections
import csv
import json
import re
import typing

# How long the replicas may be behind the master without saying so. What it takes is milliseconds;
# one look a second tells an API that the link is down; the rest is for a busy machine.
LAG = 3
# The same while packets vanish: the link counts as up until its age is 10 s (X-Data-Age).
HIDDEN = 10 + LAG
# Reads are back so long after a replica can be used again, and writes after the master can be
# reached: as in tests/faults, and as there with 3 s more, for a busy machine.
READS_BACK = 3 + 3
WRITES_BACK = 12 + 3
# Reads are fresh again so long after the master can be reached: an attempt of the replica to
# connect that waits for a lost packet is given up after 10 s (repl-timeout), the next one is 1 s
# later.
FRESH_BACK = 11 + LAG
# Connections fail only so long after a process has died: by then the Service leads elsewhere. Not
# more reads than these fail by it: one on each of the 64 connections that are kept, if all led to
# it, and a third of the 20 a second that are opened anew.
ELSEWHERE = 5
MOST_FAILED = 64 + ELSEWHERE * 20 // 3
# No answer may take longer; the API's own deadline is 400 ms.
LONGEST = 2


class Fault(typing.NamedTuple):
    """What was broken, from when to when, and what clients may see of it. A code of 0 is a
    connection that failed."""

    what: str
    began: float
    # It works again: the replica is in sync, the pod is ready, the master can be reached.
    mended: float
    # Which codes, and until when.
    reads: tuple = ()
    reads_until: float = 0
    posts: tuple = ()
    posts_until: float = 0
    # Until when an answer may be older than LAG without saying so.
    hidden_until: float = 0

    def excuses(self, at, code, post):
        codes, until = (self.posts, self.posts_until) if post else (self.reads, self.reads_until)
        if code == 0:
            until = self.began + ELSEWHERE
        return code in codes and self.began <= at.ended and at.began <= until


class History:
    """The versions of each field, in order, and where each is to be found."""

    def __init__(self):
        self.acknowledged = collections.defaultdict(list)
        self.versions = {}

    def add(self, field, value, sent, acknowledged):
        """Each value is another one, so that it says where it belongs."""
        self.versions[value] = (field, len(self.acknowledged[field]), sent)
        self.acknowledged[field].append(acknowledged)

    def behind(self, field, value, began, ended):
        """For how many seconds the master had had a newer one. ValueError: it is no answer."""
        if value not in self.versions:
            raise ValueError("nobody has written that")
        owner, at, sent = self.versions[value]
        if owner != field:
            raise ValueError(f"that is a value of {owner}")
        if sent > ended:
            raise ValueError("that was written later")
        newer = self.acknowledged[field][at + 1:at + 2]
        return max(0.0, began - newer[0]) if newer else 0.0


class Verdict:
    """What came of all requests."""

    def __init__(self, faults):
        self.faults = sorted(faults, key=lambda one: one.began)
        self.wrong = []
        self.lost = []
        # By time: what a phase or a fault has seen is counted from these.
        self.reads = []
        self.posts = []

    def judge_reads(self, history, answers):
        for one in answers:
            field = one.url.rsplit("/", 1)[1]
            age = re.search(r"^X-Data-Age: (\d+)", one.headers, flags=re.M)
            seen = "aged" if age else one.code
            behind = 0.0
            if one.code == 200:
                behind = self._body(history, field, one, age and int(age.group(1)))
            else:
                self._excuse(one, post=False)
            self.reads.append((one.began, seen, behind, one.ended - one.began))
        self.reads.sort(key=lambda row: row[0])

    def _body(self, history, field, one, age):
        try:
            value = json.loads(one.body)["current"]
            behind = history.behind(field, value, one.began, one.ended)
        except (ValueError, KeyError, TypeError) as error:
            self.wrong.append(f"{one}: {error}")
            return 0.0
        # Ages are whole seconds.
        most = LAG if age is None else age + 1 + LAG
        if age is None and any(f.began <= one.ended and one.began <= f.hidden_until
                               for f in self.faults):
            most = HIDDEN
        if behind > most:
            self.wrong.append(f"{one}: {behind:.3f} s old, {most} are allowed")
        return behind

    def _excuse(self, one, post):
        if one.code not in (0, 503, 504) or one.ended - one.began > LONGEST + 0.5:
            self.wrong.append(f"no such answer: {one}")
        elif not any(fault.excuses(one, one.code, post) for fault in self.faults):
            self.wrong.append(f"nothing was broken: {one}")

    def judge_posts(self, answers, stored):
        """`stored`: all fields of the master at the end. Each post was to a field of its own."""
        for one in answers:
            field, value = one.url.rsplit("/", 1)[1].split("?")
            seen, known = one.code, stored.get(field)
            if one.code == 200:
                fate = "done" if json.loads(one.body) == {"current": int(value)} else "odd"
            else:
                fate = fate_of(one)
                self._excuse(one, post=True)
            if fate == "odd":
                self.wrong.append(f"no such answer: {one}")
            if fate in ("done", "applied") and known != value:
                self.lost.append(f"{one}: the master has {known}")
            if fate in ("not-sent", "refused") and known is not None:
                self.wrong.append(f"{one}: the master has {known}")
            if known not in (None, value):
                self.wrong.append(f"{field} is {known}, which nobody wrote")
            self.posts.append((one.began, seen, fate, one.ended - one.began))
        self.posts.sort(key=lambda row: row[0])

    def between(self, began, ended):
        """The reads and posts of that time."""
        return [rows[bisect.bisect_left(rows, (began,)):bisect.bisect_left(rows, (ended,))]
                for rows in (self.reads, self.posts)]


def fate_of(post):
    """What a failed post says of itself."""
    if post.code == 0:
        return "unknown"
    try:
        fate = json.loads(post.body)["outcome"]
    except (ValueError, KeyError, TypeError):
        return "odd"
    return fate if fate in ("not-sent", "refused", "unknown", "applied") else "odd"


def refuses_what_is_wrong(history, read, post, stored):
    """The proof that it judges: a good read and a good post, made wrong in each way. Returns the
    ways that it lets through."""
    field, known = post.url.rsplit("/", 1)[1].split("?")
    not_sent = post._replace(code=503, body='{"error":"","outcome":"not-sent"}')
    later = {"began": read.began + 60, "ended": read.ended + 60}
    earlier = {"began": read.began - 60, "ended": read.ended - 60}
    other = read.url.rsplit("/", 1)[0] + "/another"
    ways = {
        "another field's value": ([read._replace(url=other)], [], stored),
        "a value that nobody wrote": ([read._replace(body='{"current":-1}')], [], stored),
        "a value before it was written": ([read._replace(**earlier)], [], stored),
        "an old value": ([read._replace(**later)], [], stored),
        "an old value, of too small an age":
            ([read._replace(**later, headers="X-Data-Age: 11\r\n")], [], stored),
        "an error when nothing is broken": ([read._replace(code=503)], [], stored),
        "a code that is never right": ([read._replace(code=500)], [], stored),
        "a lost write": ([], [post], {}),
        "a write that is said not to be done": ([], [not_sent], {field: known}),
        "another value stored": ([], [post], {field: "-1"}),
    }
    # So that what a failed post says of itself is what counts.
    fault = Fault("any", 0, 0, posts=(503,), posts_until=float("inf"))
    passed = []
    for way, (reads, posts, kept) in ways.items():
        verdict = Verdict([fault])
        verdict.judge_reads(history, reads)
        verdict.judge_posts(posts, kept)
        if not verdict.wrong + verdict.lost:
            passed.append(way)
    return passed


# --- what is told of it


def write(folder, verdict, spans, settings):
    """A row for each fault, a table of each kind of fault, and a line that sums up. `spans`: each
    fault, and until when what came is counted as of it."""
    rows = [row_of(verdict, fault, end, spans[0][0].began) for fault, end in spans]
    with open(folder / "chaos.csv", "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    slowest = max(row[3] for row in verdict.reads if row[1] in (200, "aged"))
    seen = collections.Counter(row[1] for row in verdict.reads)
    fates = collections.Counter(row[2] for row in verdict.posts)
    told = (
        f"{len(verdict.reads)} reads, of them {failures(seen)} failed, {len(verdict.wrong)} wrong; "
        f"{len(verdict.posts)} posts: {of_fates(fates)}, {len(verdict.lost)} lost"
    )
    text = " ".join(f"{name}={value}" for name, value in settings.items())
    (folder / "chaos.md").write_text(
        f"`{text}`: {told}. The slowest `200` took {slowest * 1000:.0f} ms; where no age was told, "
        f"the oldest was {oldest(verdict.reads):.2f} s behind the master.\n\n" + table(rows),
        encoding="utf-8",
    )
    return told


def failures(seen):
    return sum(count for what, count in seen.items() if what not in (200, "aged"))


def of_fates(fates):
    """Done, certainly not done, unknown."""
    done = fates["done"] + fates["applied"]
    return f"{done} / {fates['not-sent'] + fates['refused']} / {fates['unknown']}"


def oldest(reads):
    return max((row[2] for row in reads if row[1] == 200), default=0)


def row_of(verdict, fault, end, start):
    reads, posts = verdict.between(fault.began, end)
    seen = collections.Counter(row[1] for row in reads)
    fates = collections.Counter(row[2] for row in posts)

    def after(moment, rows, good):
        """When the last that was not good had ended."""
        return round(max([0.0] + [row[0] + row[3] - moment for row in rows
                                  if row[1] not in good]), 1)

    answers = [row for row in reads if row[1] in (200, "aged")]
    return {
        "second": round(fault.began - start),
        "fault": fault.what,
        "mended after s": round(fault.mended - fault.began, 1),
        "reads": len(reads),
        "with their age": seen["aged"],
        "503": seen[503],
        "504": seen[504],
        "failed connections": seen[0],
        "failures for s": after(fault.began, reads, (200, "aged")),
        "reads back after s": after(fault.mended, reads, (200, "aged")),
        "fresh again after s": after(fault.mended, answers, (200,)),
        "behind without saying so s": round(oldest(reads), 2),
        "posts": len(posts),
        "posts done": fates["done"] + fates["applied"],
        "posts certainly not done": fates["not-sent"] + fates["refused"],
        "posts unknown": fates["unknown"],
        "writes back after s": after(fault.mended, posts, (200,)),
    }


HEAD = (
    "fault", "times", "reads", "with their age", "503", "504",
    "failed connections, at most of one fault", "failures for", "mended after", "reads back after",
    "fresh again after", "behind without saying so", "posts", "writes back after",
)
WORST = ("failures for s", "mended after s", "reads back after s", "fresh again after s",
         "behind without saying so s")


def table(rows):
    """Sums for each kind of fault, and the worst where it is a time."""
    lines = [line(HEAD), line(["---"] + ["---:"] * (len(HEAD) - 1))]
    for kind in dict.fromkeys(row["fault"] for row in rows):
        mine = {name: [row[name] for row in rows if row["fault"] == kind] for name in rows[0]}
        sums = [sum(mine[name]) for name in ("reads", "with their age", "503", "504")]
        failed = mine["failed connections"]
        fates = [sum(mine[f"posts {fate}"]) for fate in ("done", "certainly not done", "unknown")]
        lines.append(line([
            kind, len(failed), *sums, f"{sum(failed)}, {max(failed)}",
            *(f"{max(mine[name])} s" for name in WORST),
            " / ".join(map(str, fates)), f"{max(mine['writes back after s'])} s",
        ]))
    return "".join(lines)


def line(cells):
    return f"| {' | '.join(map(str, cells))} |\n"
