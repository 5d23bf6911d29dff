"""For whoever has no mouse, or does not see the page: its keys, its tree, and its contrast."""

# What Tab stops at, in order.
STOPS = """[...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
    .filter(one => one.checkVisibility({contentVisibilityAuto: true}))"""

# Where the focus is: its place among these, and how that is seen.
FOCUS = (
    """(() => {
    const one = document.activeElement, style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    return {
        place: """ + STOPS + """.indexOf(one), tag: one.tagName,
        is_shown: one.matches(':focus-visible') && style.outlineStyle === 'solid',
        width: parseFloat(style.outlineWidth), colour: style.outlineColor,
        is_within: box.bottom > 0 && box.top < innerHeight,
        box: [box.left + scrollX - 6, box.top + scrollY - 6, box.width + 12, box.height + 12],
    };
})()"""
)

# Every text that is shown, by the contrast of its colour with the ground behind it, and every line
# and mark of the drawings by that of its stroke or fill (WCAG 2.2, 1.4.3 and 1.4.11).
CONTRAST = """(() => {
    const parts = text => text.match(/[0-9.]+/g).map(Number);
    const light = colour => {
        const [r, g, b] = colour.slice(0, 3).map(value => value / 255)
            .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = one => {
        for (; one; one = one.parentElement) {
            const colour = parts(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        throw new Error('there is no ground');
    };
    const contrast = (one, colour) => {
        const [a, b] = [light(parts(colour)), light(ground(one))].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05);
    };
    const found = {texts: [], marks: []};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || ['TITLE', 'title', 'desc', 'STYLE'].includes(one.tagName)) continue;
        const style = getComputedStyle(one);
        const colour = one instanceof SVGElement ? style.fill : style.color;
        found.texts.push([contrast(one, colour), text, colour]);
    }
    for (const one of document.querySelectorAll('path:not(.grid, .band)')) {
        const style = getComputedStyle(one), kind = one.getAttribute('class');
        const colour = style.fill === 'none' ? style.stroke : style.fill;
        found.marks.push([contrast(one, colour), kind, colour]);
    }
    const least = all => all.reduce((a, b) => b[0] < a[0] ? b : a);
    return {texts: found.texts.length, text: least(found.texts), mark: least(found.marks)};
})()"""

OPEN = "document.querySelectorAll('details').forEach(one => one.open = {})"


def check_contrast(browser):
    browser.js(OPEN.format("true"))
    for scheme in ("light", "dark"):
        browser.look(scheme)
        found = browser.js(CONTRAST)
        (text, *which), (mark, *kind) = found["text"], found["mark"]
        print(f"  {scheme}: {found['texts']} texts from {text:.1f}, marks from {mark:.1f}")
        assert text >= 4.5, which
        assert mark >= 3, kind
    browser.look()
    browser.js(OPEN.format("false"))


def nodes(browser):
    """The accessibility tree: what is not left out of it, in order."""
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in tree}
    ordered, left = [], [tree[0]["nodeId"]]
    while left:
        node = by_id[left.pop()]
        left.extend(child for child in reversed(node.get("childIds", [])) if child in by_id)
        if not node["ignored"]:
            ordered.append(node)
    return ordered, by_id


def text(node, what):
    return node.get(what, {}).get("value", "")


def value(node, name):
    found = [one["value"]["value"] for one in node["properties"] if one["name"] == name]
    return found[0] if found else None


def above(node, by_id):
    """The roles of what a node is in."""
    roles = []
    while node := by_id.get(node.get("parentId")):
        roles.append(text(node, "role"))
    return roles


def check_tree(browser, sections):
    """What a screen reader is told."""
    browser.js(OPEN.format("true"))
    ordered, by_id = nodes(browser)
    of = lambda *roles: [node for node in ordered if text(node, "role") in roles]
    assert browser.js("document.documentElement.lang") == "en"
    title = browser.js("document.title")
    assert title.startswith("ckptdb report: ") and text(of("RootWebArea")[0], "name") == title
    levels = [value(node, "level") for node in of("heading")]
    assert levels[0] == 1 and levels.count(1) == 1, levels
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:])), levels
    assert len(of("main")) == 1 and len(of("banner")) == 1
    named = [text(node, "name") for node in of("navigation")]
    assert named == (["Sections"] if sections > 1 else []), named
    regions = of("region")
    assert len(regions) == sections and all(text(node, "name") for node in regions)
    drawings, figures = of("image", "img"), of("figure")
    assert len(drawings) == len(figures) == browser.js("document.querySelectorAll('svg[role]').length")
    for node in drawings:
        # The name is the title and what is drawn, in a sentence.
        assert text(node, "name").strip().endswith("."), node
        assert "figure" in above(node, by_id)
    names = [text(node, "name") for node in drawings]
    assert len(set(names)) >= len({name.split(".")[0] for name in names}) > sections
    tables = of("table")
    assert len(tables) == len(drawings)
    for node in tables:
        assert text(node, "name"), "a table has a caption"
    heads = {}
    for role in ("columnheader", "rowheader"):
        heads[role] = sum(1 for node in of(role) if "table" in above(node, by_id))
        assert heads[role] >= 2 * len(tables), heads
    browser.js(OPEN.format("false"))
    print(f"  {len(ordered)} nodes, {len(drawings)} named drawings, each with a table")


def check_keys(browser, page):
    """By Tab, Shift and Tab, and Enter: all is reached, in order, and seen to be."""
    browser.open(page)
    browser.look()
    count = browser.js(STOPS + ".length")
    summaries = browser.js("document.querySelectorAll('summary').length")
    assert count >= summaries > 4
    assert not browser.js("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length")
    kinds = {}
    for place in range(count):
        browser.press("Tab")
        focus = browser.js(FOCUS)
        assert focus["place"] == place, (focus, place)
        check_focus(browser, focus, kinds)
    browser.press("Tab")
    assert browser.js("document.activeElement === document.body"), "the focus is let go"
    browser.press("Tab", shift=True)
    assert browser.js(FOCUS)["place"] == count - 1
    check_details(browser, kinds)
    print(f"  {count} stops by keyboard, of {sorted(kinds)}")


def check_focus(browser, focus, kinds):
    """The focus is seen: in words for all, in a picture for the first of a kind."""
    assert focus["is_shown"] and focus["width"] >= 2 and focus["is_within"], focus
    if focus["tag"] in kinds:
        return
    colour = tuple(int(part) for part in focus["colour"][4:-1].split(","))
    seen = browser.shot(focus["box"]).count(colour)
    browser.js("window.was = document.activeElement; was.blur()")
    unseen = browser.shot(focus["box"]).count(colour)
    browser.js("was.focus({focusVisible: true})")
    around = 2 * (focus["box"][2] + focus["box"][3] - 24)
    assert seen - unseen > around / 2, (focus, seen, unseen)
    kinds[focus["tag"]] = True


def check_details(browser, kinds):
    """Enter opens what the last summary hides, Tab goes in; Enter closes it again."""
    is_open = "document.activeElement.parentElement.open"
    assert browser.js("document.activeElement.tagName") == "SUMMARY" and not browser.js(is_open)
    browser.press("Enter")
    assert browser.js(is_open), "Enter opens it"
    browser.press("Tab")
    focus = browser.js(FOCUS)
    assert browser.js("document.activeElement.matches('.wide')"), focus
    check_focus(browser, focus, kinds)
    browser.press("Tab", shift=True)
    browser.press("Enter")
    assert not browser.js(is_open), "Enter closes it"


def check_links(browser, page):
    """A link leads to its section, and Tab goes on from there."""
    browser.open(page)
    links = browser.js("document.querySelectorAll('nav a').length")
    for _ in range(links):
        browser.press("Tab")
    browser.press("Enter")
    target = browser.js("location.hash").removeprefix("#")
    assert target == browser.js("document.querySelector('nav li:last-child a').hash.slice(1)")
    top = browser.js(f"document.getElementById('{target}').getBoundingClientRect().top")
    assert -1 <= top < browser.js("innerHeight"), top
    browser.press("Tab")
    assert browser.js(
        f"document.getElementById('{target}').parentElement.contains(document.activeElement)"
    ), "Tab goes on within the section"
