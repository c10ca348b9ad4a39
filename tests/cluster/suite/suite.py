"""Runs the checks: suite.py core, suite.py prove, or suite.py PART_OF_A_NAME...

One line for each check, and a closing one. What fails is told in full: the reason, and in a file
what isn't ready, events and logs. Started by run.sh, which sees to a cluster and to tools.
"""

import os
import pathlib
import sys
import tempfile
import time
import traceback

import access
import chaos
import deployed
import faults
import kube
import prove
import roll
from kube import Failed
from stage import PROJECT, Stage

CORE = deployed.CHECKS + faults.CHECKS + roll.CHECKS + access.CHECKS
PROVE = roll.SLOW + chaos.CHECKS + prove.CHECKS


def chosen(words):
    """The checks to run. Those of `deployed` that set things up are always among them."""
    if words == ["core"]:
        return CORE
    if words == ["prove"]:
        return deployed.SETUP + PROVE
    found = [
        one for one in CORE + PROVE
        if one in deployed.SETUP or any(word.lower() in title(one).lower() for word in words)
    ]
    if len(found) == len(deployed.SETUP) and words != ["setup"]:
        sys.exit(f"no check has any of {words} in its name:\n" +
                 "\n".join(title(one) for one in CORE + PROVE))
    return found


def title(check):
    return " ".join(check.__doc__.split()).rstrip(".")


class Results:
    """What came of the checks so far."""

    def __init__(self, stage):
        self.stage = stage
        self.passed = 0
        self.failed = 0

    def run(self, check):
        """False: it has failed."""
        begun = time.monotonic()
        try:
            note = check(self.stage) or ""
        except Failed as error:
            self._fail(check, begun, str(error))
            return False
        except Exception:  # pylint: disable=broad-except
            self._fail(check, begun, traceback.format_exc())
            return False
        self.passed += 1
        took = time.monotonic() - begun
        print(f"ok    {took:5.0f} s  {title(check)}{': ' if note else ''}{note}", flush=True)
        return True

    def _fail(self, check, begun, reason):
        self.failed += 1
        took = time.monotonic() - begun
        print(f"FAIL  {took:5.0f} s  {title(check)}", flush=True)
        for line in reason.splitlines():
            print(f"      {line}", flush=True)
        file = self.stage.artifacts / f"failure-{self.failed}.txt"
        try:
            kube.tell_all(file)
            # All of it in the log of CI, where there may be no files to fetch.
            print(file.read_text(errors="replace") if "CI" in os.environ else f"      see {file}",
                  flush=True)
        except (Failed, OSError) as error:
            print(f"      (the state of the cluster can't be told: {error})", flush=True)


def main():
    words = sys.argv[1:] or ["core"]
    checks = chosen(words)
    artifacts = pathlib.Path(os.environ.get("ARTIFACTS", PROJECT / "target/cluster-test"))
    artifacts.mkdir(parents=True, exist_ok=True)
    for old in artifacts.glob("failure-*.txt"):
        old.unlink()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="redis-api-suite.") as folder:
        stage = Stage(folder, artifacts)
        results = Results(stage)
        try:
            stage.prepare_files()
            for at, check in enumerate(checks):
                if not results.run(check) and check in deployed.SETUP:
                    print(f"      {len(checks) - at - 1} checks that need it are left out")
                    break
        finally:
            if "KEEP" in os.environ:
                print(f"kept, as KEEP says: the namespaces {kube.NAMESPACE}, {kube.OUTSIDE}")
            else:
                try:
                    stage.clean_up()
                except Failed as error:
                    print(f"FAIL  cleaning up: {error}")
                    results.failed += 1
            kube.close()
    print(f"{results.passed} passed, {results.failed} failed "
          f"({(time.monotonic() - begun) / 60:.1f} minutes; artifacts are in {artifacts})")
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
