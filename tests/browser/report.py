"""Opens a report in a headless Chromium and looks at what it shows.

python3 report.py CKPTDB STORE: pictures in light and dark, wide and narrow, must show what the store
has: curves, and the best checkpoint's star; each drawing has a table.
"""

import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

LIGHT = {"paper": (255, 255, 255), "line": (9, 105, 218), "best": (26, 127, 55)}
DARK = {"paper": (13, 17, 23), "line": (88, 166, 255), "best": (63, 185, 80)}


def browse(page, folder, *options):
    """What Chromium says of the page with these options."""
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={folder}/profile", "--virtual-time-budget=2000", *options,
        f"file://{page}",
    ]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode(), done.stderr.decode()


def pixels(png):
    """Width, and rows of (red, green, blue), of a picture of 8 bits (PNG specification, 9)."""
    data, at, packed = png.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack_from(">IIBB", body)
            assert depth == 8 and colours in (2, 6), (depth, colours)
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    step = 3 if colours == 2 else 4
    raw, rows = zlib.decompress(packed), []
    before = bytearray(width * step)
    for row in range(height):
        start = row * (width * step + 1)
        how, line = raw[start], bytearray(raw[start + 1 : start + 1 + width * step])
        if how == 2:
            line = bytearray((a + b) & 255 for a, b in zip(line, before))
        elif how:
            for place in range(len(line)):
                left = line[place - step] if place >= step else 0
                up = before[place]
                corner = before[place - step] if place >= step else 0
                if how == 1:
                    guess = left
                elif how == 3:
                    guess = (left + up) // 2
                else:
                    near = left + up - corner
                    distance = [abs(near - value) for value in (left, up, corner)]
                    guess = (left, up, corner)[distance.index(min(distance))]
                line[place] = (line[place] + guess) & 255
        before = line
        rows.append(line)
    return width, step, rows


def count(picture, colour):
    """How many pixels have this colour, or nearly."""
    _, step, rows = picture
    found = 0
    for row in rows:
        for at in range(0, len(row), step):
            if all(abs(row[at + part] - colour[part]) <= 6 for part in range(3)):
                found += 1
    return found


def shot(page, folder, name, width, *options):
    png = folder / f"{name}.png"
    browse(page, folder, f"--window-size={width},1800", f"--screenshot={png}", *options)
    return pixels(png)


def main(program, store):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        page = folder / "report.html"
        subprocess.run([program, "report", "-s", store, "-o", page], check=True)
        dark = "--blink-settings=preferredColorScheme=0"
        light = "--blink-settings=preferredColorScheme=1"
        pictures = {
            ("light", 1000): shot(page, folder, "light", 1000, light),
            ("dark", 1000): shot(page, folder, "dark", 1000, dark),
            ("light", 420): shot(page, folder, "narrow", 420, light),
        }
        for (scheme, width), picture in pictures.items():
            colours = LIGHT if scheme == "light" else DARK
            found = {name: count(picture, colour) for name, colour in colours.items()}
            print(scheme, width, found)
            assert picture[0] == width
            assert found["paper"] > width * 1800 / 2, "the ground is the page's own"
            assert found["line"] > 500, "curves are drawn"
            assert found["best"] > 20, "the best has a star"
        dom, said = browse(page, folder, "--dump-dom", "--enable-logging=stderr")
        assert not re.findall(r"CONSOLE.*", said), said
        assert "<script" not in dom, "it is right without scripts"
        drawings = dom.count('role="img"')
        assert drawings >= 4 and dom.count("<table>") == drawings, drawings
        print(f"{drawings} drawings, each with a table")


if __name__ == "__main__":
    main(*sys.argv[1:])
