#!/usr/bin/env python3
"""The bill of materials of the image `api`, in CycloneDX 1.5: the crates that its binary is built
from, with versions, licences and checksums, as Cargo.lock and the crates themselves have them.

Usage: scripts/sbom.py [TARGET] > sbom.cdx.json    (x86_64-unknown-linux-gnu)

What the base of the image holds beside it is in the base's own /var/lib/dpkg/status.d, where
scanners find it.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "redis-api"


def cargo(*words):
    """What cargo says. Builds nothing."""
    return subprocess.check_output(["cargo", *words], cwd=ROOT, text=True)


def built(target):
    """The packages that the binary of the image is built from, its own first: no tests."""
    tree = ["tree", "--locked", "--package", PACKAGE, "--no-default-features"]
    tree += ["--edges", "normal,build", "--target", target, "--prefix", "none"]
    lines = cargo(*tree, "--format", "{p}").splitlines()
    # As `name v1.2.3 (path)`.
    wanted = dict.fromkeys(tuple(line.replace(" v", " ").split()[:2]) for line in lines)
    known = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    named = {(package["name"], package["version"]): package for package in known["packages"]}
    return [named[package] for package in wanted]


def checksums():
    """SHA-256 of each crate from a registry, by name and version."""
    lock = (ROOT / "Cargo.lock").read_text()
    form = r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"'
    return {(name, version): sha for name, version, sha in re.findall(form, lock)}


def component(package, sums, kind="library"):
    """One package, as CycloneDX has it."""
    name, version = package["name"], package["version"]
    made = {"type": kind, "bom-ref": f"pkg:cargo/{name}@{version}", "name": name}
    made |= {"version": version, "purl": f"pkg:cargo/{name}@{version}"}
    if package["license"]:
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in sums:
        made["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
    return made


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else "x86_64-unknown-linux-gnu"
    packages = built(target)
    sums = checksums()
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[0], sums, "application")},
        "components": sorted(
            (component(package, sums) for package in packages[1:]),
            key=lambda made: made["bom-ref"],
        ),
    }
    json.dump(bill, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
