"""The table of the talk and its picture, from the raw data. Usage: talk.py FOLDER (of talk.csv)"""

import csv
import html
import pathlib
import statistics
import sys

# The containers that count: `sync` is sync-auth, which asks for a file's time now and then.
PARTS = ("api", "replica", "sync", "master")
POD = ("api", "replica", "sync")
# Those with a place of their own in table and picture.
SHOWN = ("api", "replica", "master")
# What the others are compared with.
CEILING = "helloworld"


def write(folder, rows):
    """The raw data, then what is made of them."""
    with open(folder / "talk.csv", "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    make(folder)


def make(folder):
    with open(folder / "talk.csv", encoding="utf-8", newline="") as raw:
        rows = list(csv.DictReader(raw))
    cases = cases_of(rows)
    (folder / "talk.md").write_text(table(cases), encoding="utf-8")
    (folder / "talk.svg").write_text(picture(cases), encoding="utf-8")


def cases_of(rows):
    """Medians over the rounds, by rate and form, in the order of the first round."""
    cases = {}
    for row in rows:
        cases.setdefault((int(row["rate"]), row["form"]), []).append(row)
    numbers = [name for name in rows[0] if name not in ("round", "form", "rate")]
    ceiling = {
        (int(row["rate"]), row["round"]): pod_of(row) for row in rows if row["form"] == CEILING
    }
    return {
        case: {
            "rounds": len(mine),
            "ratios": sorted(
                pod_of(row) / ceiling[case[0], row["round"]]
                for row in mine if (case[0], row["round"]) in ceiling
            ),
            **{name: statistics.median(float(row[name]) for row in mine) for name in numbers},
        }
        for case, mine in sorted(cases.items(), key=lambda item: item[0][0])
    }


def pod_of(row):
    """CPU of a request in the pod, by all of its containers."""
    return sum(float(row.get(f"{part}_us_per_request", 0)) for part in POD)


def table(cases):
    counts = sorted({case["rounds"] for case in cases.values()})
    rounds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    beside = any(case["ratios"] for case in cases.values())
    heads = ["requests/s", "reads", "`top`: API, replica, master, m", "the same by cgroup, m",
             "CPU of a request: API, replica, master, µs", "p50, p99, µs"]
    if beside:
        heads.insert(5, f"the pod, × {CEILING}")
    lines = [
        f"Medians of {rounds} rounds; m: thousandths of a core, as `kubectl top` shows them."
        + (f" The pod beside {CEILING}'s: all of its containers, CPU of a request by cgroup, median"
           " (lowest to highest) of the rounds' ratios." if beside else ""),
        "",
        f"| {' | '.join(heads)} |",
        "| ---: | --- |" + " ---: |" * (len(heads) - 2),
    ]
    for (rate, form), case in cases.items():

        def several(pattern, case=case):
            return ", ".join(f"{case[pattern % part]:g}" for part in SHOWN)

        cells = [f"{rate:,}", form, several("top_%s_m"), several("%s_cgroup_m"),
                 several("%s_us_per_request"), f"{case['p50_us']:g}, {case['p99_us']:g}"]
        if beside:
            cells.insert(5, spread(case["ratios"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(ratios):
    if not ratios:
        return ""
    if ratios[0] == ratios[-1]:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


# --- the picture ---

# Readable on white and on black.
COLORS = {"api": "#3b82c4", "replica": "#7bb661", "master": "#e08a3c"}
WORDS = {"api": "API", "replica": "replica beside it", "master": "master"}
TEXT = "#808890"
LEFT, BAR, GAP, TOP, WIDTH = 236, 20, 8, 62, 720


def picture(cases):
    """One bar a case, of what `kubectl top` shows of its containers."""
    sums = [sum(case[f"top_{part}_m"] for part in SHOWN) for case in cases.values()]
    scale = (WIDTH - LEFT - 60) / max(sums)
    marks, at, last = [], TOP, None
    for ((rate, form), case), total in zip(cases.items(), sums):
        if rate != last:
            at += 24 if last is None else 36
            marks.append(text(LEFT, at - 8, f"{rate:,} requests/s", "start", bold=True))
            last = rate
        marks.append(text(LEFT - 8, at + 15, form, "end"))
        x = LEFT
        for part in SHOWN:
            width = case[f"top_{part}_m"] * scale
            if width:
                marks.append(f'<rect x="{x:.1f}" y="{at}" width="{width:.1f}" height="{BAR}" '
                             f'fill="{COLORS[part]}"/>')
            x += width
        marks.append(text(x + 6, at + 15, f"{total:g}", "start"))
        at += BAR + GAP
    x = LEFT
    for part in SHOWN:
        marks.append(f'<rect x="{x:g}" y="36" width="12" height="12" fill="{COLORS[part]}"/>')
        marks.append(text(x + 18, 47, WORDS[part], "start"))
        x += 36 + 6.5 * len(WORDS[part])
    title = "CPU by kubectl top, thousandths of a core: one API pod and the master"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {at + 8}" role="img" '
        f'font-family="sans-serif" font-size="13">\n<title>{title}</title>\n'
        + "\n".join([text(8, 22, title, "start", bold=True), *marks])
        + "\n</svg>\n"
    )


def text(x, y, words, anchor, bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return (f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{TEXT}"{weight}>'
            f"{html.escape(words)}</text>")


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]))
