"""What a page must show of its store: ground, curves, the marks of the story, each where it is."""

import access

PAPER = {"light": (255, 255, 255), "dark": (13, 17, 23)}
LINE = {"light": (9, 105, 218), "dark": (88, 166, 255)}
BEST = {"light": (26, 127, 55), "dark": (63, 185, 80)}

# A figure's marks by class, each as the place of its middle on the page and the iteration there, which
# the labels of the axis tell.
MARKS = """((job, title) => {
    const middle = {saved: [0, 0], best: [0, 8], deleted: [3, 3], abandoned: [3, 3], fork: [0, 5],
        back: [6, 0]};
    const section = [...document.querySelectorAll('section')]
        .find(one => one.querySelector('h2').textContent === job);
    const figure = [...section.querySelectorAll('figure')]
        .find(one => one.querySelector('h3').textContent.startsWith(title));
    const svg = figure.querySelector('svg[role=img]');
    const ticks = [...svg.querySelectorAll('text[text-anchor=middle]')]
        .map(one => [+one.getAttribute('x'), +one.textContent]);
    const [[x0, i0], [x1, i1]] = [ticks[0], ticks[ticks.length - 1]];
    const at = svg.getScreenCTM(), marks = {};
    for (const path of svg.querySelectorAll('path')) {
        const kind = path.getAttribute('class');
        if (!(kind in middle)) continue;
        const style = getComputedStyle(path);
        const colour = style.fill === 'none' ? style.stroke : style.fill;
        marks[kind] = [...path.getAttribute('d').matchAll(/M(-?[0-9.]+) (-?[0-9.]+)/g)].map(found => {
            const [x, y] = [+found[1] + middle[kind][0], +found[2] + middle[kind][1]];
            const place = new DOMPoint(x, y).matrixTransform(at);
            const iteration = i0 + (x - x0) * (i1 - i0) / (x1 - x0);
            return {iteration, y, left: place.x + scrollX, top: place.y + scrollY, colour};
        });
    }
    const box = svg.getBoundingClientRect();
    return {
        marks,
        lines: [...svg.querySelectorAll('.line')].map(one => one.getAttribute('class')).sort(),
        legend: [...figure.querySelectorAll('.legend li')].map(one => one.textContent),
        told: svg.querySelector('desc').textContent,
        rows: [...figure.querySelectorAll('tbody tr')]
            .map(row => [...row.children].map(cell => cell.textContent)),
        box: [box.left + scrollX, box.top + scrollY, box.width, box.height],
    };
})"""

# The labels of the drawings that are cut off, and the size of the smallest.
LABELS = """(() => {
    const all = [...document.querySelectorAll('svg text')];
    const box = one => one.getBoundingClientRect();
    const size = one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a;
    return {
        cut: all.filter(one => box(one).left < 0 || box(one).right > innerWidth)
            .map(one => one.textContent),
        least: Math.min(...all.map(size)),
    };
})()"""

# What a machine without fonts of its own may show everything in is as wide as `monospace`.
FAMILIES = ("system-ui", "serif", "monospace")

# What is beyond the window's right edge, outside of what scrolls by itself.
BEYOND = """[...document.querySelectorAll('body *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth && !one.closest('.wide, svg'))
    .map(one => one.tagName + ' ' + one.textContent.slice(0, 60))"""


def check_ground(browser, folder):
    """Light and dark, wide and narrow: the page's own colours, curves, and a star."""
    for scheme, width in (("light", 1000), ("dark", 1000), ("light", 420), ("dark", 420)):
        browser.look(scheme, width, height=1600)
        picture = browser.shot()
        colours = {"paper": PAPER, "line": LINE, "best": BEST}
        found = {name: picture.count(of[scheme]) for name, of in colours.items()}
        print(" ", scheme, width, found)
        assert picture.width == width
        assert found["paper"] > width * picture.height / 2, "the ground is the page's own"
        assert found["line"] > width / 6, "curves are drawn"
        assert found["best"] > 20, "the best has a star"
        labels = browser.js(LABELS)
        assert not labels["cut"] and labels["least"] >= 6.5, labels


def check_width(browser):
    """A narrow page is no wider than its window, its tables open, in whatever letters are there."""
    browser.js(access.OPEN.format("true"))
    for family in FAMILIES:
        browser.js(f"document.body.style.fontFamily = '{family}'")
        for width in (320, 420):
            browser.look(width=width)
            wide = browser.js("document.documentElement.scrollWidth")
            assert wide <= width, (family, width, wide, browser.js(BEYOND))
            cut = browser.js(LABELS)["cut"]
            assert not cut, (family, width, cut)
    browser.js("document.body.style.fontFamily = ''")


def colour_of(text):
    """The numbers of `rgb(1, 2, 3)`."""
    return tuple(int(part) for part in text[4:-1].split(","))


def check_marks(browser, scheme, figure, expected):
    """Each mark is in the page, and in the picture at its place, in its colour."""
    found = {kind: sorted(round(mark["iteration"]) for mark in marks)
             for kind, marks in figure["marks"].items()}
    near = {kind: [min(wanted, key=lambda one: abs(one - at)) for at in found.get(kind, [])]
            for kind, wanted in expected.items()}
    assert near == expected and found.keys() == expected.keys(), (found, expected)
    assert all(abs(a - b) <= 3 for kind in found for a, b in zip(found[kind], near[kind])), found
    picture = browser.shot(figure["box"])
    scale, (left, top, _, _) = picture.width / figure["box"][2], figure["box"]
    stars = [mark["iteration"] for mark in figure["marks"]["best"]]
    for kind, marks in figure["marks"].items():
        for mark in marks:
            if kind == "saved" and any(abs(mark["iteration"] - at) <= 3 for at in stars):
                # The star is over it.
                continue
            x, y = (mark["left"] - left) * scale, (mark["top"] - top) * scale
            box = (x - 8 * scale, y - 8 * scale, x + 8 * scale, y + 8 * scale)
            count = picture.count(colour_of(mark["colour"]), box, near=24)
            assert count >= 6 * scale, (scheme, kind, mark, count)


def check_story(browser, expected):
    """What was done to the store is in the lineage of its job and on the curve of its metric."""
    for scheme in ("light", "dark"):
        browser.look(scheme, 1000, scale=2)
        lineage = browser.js(MARKS + "('nq', 'Lineage')")
        check_marks(browser, scheme, lineage, expected)
        curve = browser.js(MARKS + "('nq', 'reward')")
        of_curve = {kind: at for kind, at in expected.items() if kind not in ("back", "fork")}
        # What began another job, and that job's own, are marked in the lineage only.
        of_curve["saved"] = [at for at in expected["saved"] if at != 1000]
        check_marks(browser, scheme, curve, of_curve)
    best, rest = curve["marks"]["best"][0], curve["marks"]["saved"]
    assert all(best["y"] <= mark["y"] for mark in rest), "the greatest reward is the best"
    assert lineage["lines"] == ["line faint", "line faint", "line one", "line two"], lineage["lines"]
    for words in (
        "the job's line", "left behind by a rollback", "another job", "the best", "deleted",
        "where a fork begins", "where a rollback went back to",
    ):
        assert words in lineage["legend"], words
    for words in (
        "A rollback to iteration 400 left 2 checkpoints behind.",
        "A rollback to iteration 800 left 1 checkpoint behind.",
        "6 checkpoints are deleted.",
        "es forked from iteration 500.",
    ):
        assert words in lineage["told"], lineage["told"]
    notes = {(row[0], row[1]): row[-1] for row in lineage["rows"]}
    assert "best" in notes["400", "300"] and "latest" in notes["900", "800"], notes
    assert "abandoned, deleted" in notes["500", "400"], notes
    assert "abandoned" in notes["850", "800"] and "deleted" not in notes["850", "800"], notes
    assert "forked to es" in notes["500", "450"], notes
    assert "It began as a fork of nq@500." in browser.js(MARKS + "('es', 'Lineage')")["told"]
    count = sum(len(at) for at in expected.values())
    print(f"  {count} marks are where they belong, in light and dark")
