"""Chromium without a window, over its pipe for debuggers: no library, and no port."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from kube import Failed, until

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """A page that is open from `with` on."""

    def __init__(self, url):
        self.url = url
        self.number = 0
        self.session = None
        self.buffer = b""

    def __enter__(self):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if not program:
            raise Failed("Chromium is not installed (make setup)")
        self.profile = tempfile.mkdtemp()
        theirs_in, self.to = os.pipe()
        self.back, theirs_out = os.pipe()
        wrapper = ["sh", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', program]
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            wrapper + [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={self.profile}",
                "--window-size=1400,2000", "--hide-scrollbars", "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            target = self.call("Target.createTarget", url=self.url)["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
        except Failed:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            while b"\0" in self.buffer:
                one, self.buffer = self.buffer.split(b"\0", 1)
                answer = json.loads(one)
                if answer.get("id") == self.number:
                    if "error" in answer:
                        raise Failed(f"Chromium: {method}: {answer['error']}")
                    return answer["result"]
            if select.select([self.back], [], [], 1)[0]:
                part = os.read(self.back, 1 << 20)
                if not part:
                    raise Failed("Chromium has ended")
                self.buffer += part
        raise Failed(f"Chromium: {method}: no answer after 60 s")

    def text(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"]
        return result.get("value")

    def wait(self, what, script, seconds=60):
        return until(what, seconds, lambda: self.text(script))

    def picture(self, file):
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))
