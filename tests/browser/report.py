"""Opens reports in a headless Chromium and looks at what they show.

python3 report.py CKPTDB STORE: the report of STORE, and of a store that is made here, with rollbacks, a
fork, a pruned checkpoint, an abandoned line and a best. Looked at are what is drawn, in the page and in
pictures of it, in light and dark, wide and narrow; what the keyboard reaches; what a screen reader is
told; contrast; and that nothing is fetched, nothing complained of, and nothing different without
scripts. A check that fails says what it found.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import access
import shown
from chromium import Chromium
from story import LINEAGE, Story


def check_quiet(browser, page):
    """It fetches nothing but itself, says nothing to the console, and has no script."""
    for method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
        assert not browser.said(method), browser.said(method)
    asked = [event["request"]["url"] for event in browser.said("Network.requestWillBeSent")]
    assert asked == [f"file://{page}"], asked
    assert not browser.js("document.querySelector('script, [onclick], [onload]') !== null")


def check_without_scripts(browser, page):
    """The picture is the same where scripts are off."""
    pictures = []
    for off in (False, True):
        browser.call("Emulation.setScriptExecutionDisabled", value=off)
        browser.open(page)
        pictures.append(browser.shot().rows)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert pictures[0] == pictures[1]


def check(browser, page):
    """What holds of every report."""
    browser.look()
    browser.open(page)
    shown.check_ground(browser, page)
    check_quiet(browser, page)
    access.check_contrast(browser)
    shown.check_width(browser)
    browser.look()
    sections = browser.js("document.querySelectorAll('section').length")
    access.check_tree(browser, sections)
    access.check_keys(browser, page)
    if sections > 1:
        access.check_links(browser, page)
    check_without_scripts(browser, page)


def main(program, store):
    start = time.monotonic()
    program = str(pathlib.Path(program).resolve())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = pathlib.Path(temporary)
        told = Story(program, folder).tell()
        with Chromium(folder) as browser:
            for name, of in (("given", pathlib.Path(store).resolve()), ("story", told)):
                page = folder / f"{name}.html"
                subprocess.run([program, "report", "-s", of, "-o", page], check=True)
                check(browser, page)
            shown.check_story(browser, LINEAGE)
    print(f"all of it holds, after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
