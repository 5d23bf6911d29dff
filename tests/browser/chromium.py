"""A headless Chromium, told what to do through its DevTools protocol over a pair of pipes."""

import base64
import json
import os
import select
import subprocess
import time

from picture import Picture

# Longer than any answer takes; it only ends what hangs.
PATIENCE = 60

# What Tab and Enter are to Input.dispatchKeyEvent.
KEYS = {
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
}


class Chromium:
    """A browser with one page, and all that it said."""

    def __init__(self, folder):
        to_browser, self.out = os.pipe()
        self.inward, from_browser = os.pipe()
        # The protocol's pipes are always 3 and 4.
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            [
                "bash", "-c", command, "chromium", "--headless", "--no-sandbox", "--disable-gpu",
                "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={folder}/profile",
                "--no-first-run", "--disable-extensions",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.last, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inward)

    def call(self, method, **parameters):
        """Sends a command, and waits for its answer; what else comes is kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            found = self.receive()
            if found.get("id") == self.last:
                assert "error" not in found, (method, parameters, found)
                return found["result"]
            self.events.append(found)

    def receive(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.inward], [], [], until - time.monotonic())
            assert ready, "the browser does not answer"
            part = os.read(self.inward, 1 << 20)
            assert part, "the browser ended"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def wait_for(self, method):
        """Until an event of this kind is there."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def said(self, method):
        """What came of this kind."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def open(self, page):
        """Shows the page anew; what was said before is forgotten."""
        self.events.clear()
        self.call("Page.navigate", url=f"file://{page}")
        self.wait_for("Page.loadEventFired")

    def look(self, scheme="light", width=1000, height=1200, scale=1):
        """How the page is looked at from now on."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=False,
        )

    def js(self, expression):
        """The value of an expression, or of an awaited promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    def press(self, key, shift=False):
        """A key goes down and up."""
        both = {**KEYS[key], "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **both)
        both.pop("text", None)
        self.call("Input.dispatchKeyEvent", type="keyUp", **both)
        # What it changes is there after the next frame.
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def shot(self, clip=None):
        """A picture of the window, or of a part of the page: left, top, width, height."""
        options = {}
        if clip:
            left, top, width, height = clip
            area = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
            options = {"clip": area, "captureBeyondViewport": True}
        answer = self.call("Page.captureScreenshot", format="png", optimizeForSpeed=True, **options)
        return Picture(base64.b64decode(answer["data"]))
