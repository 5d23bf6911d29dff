"""Pictures: what is in a PNG of 8 bits (PNG specification, 9)."""

import struct
import zlib
from itertools import accumulate


class Picture:
    """Rows of bytes, and how many of these are a pixel."""

    def __init__(self, png):
        at, packed = 8, b""
        while at < len(png):
            length, kind = struct.unpack_from(">I4s", png, at)
            body = png[at + 8 : at + 8 + length]
            if kind == b"IHDR":
                self.width, self.height, depth, colours = struct.unpack_from(">IIBB", body)
                assert depth == 8 and colours in (2, 6), (depth, colours)
            elif kind == b"IDAT":
                packed += body
            at += 12 + length
        self.step = 3 if colours == 2 else 4
        raw, size = zlib.decompress(packed), self.width * self.step
        self.rows, before = [], bytearray(size)
        for row in range(self.height):
            start = row * (size + 1)
            line = bytearray(raw[start + 1 : start + 1 + size])
            unfilter(raw[start], line, before, self.step)
            self.rows.append(line)
            before = line

    def count(self, colour, box=None, near=6):
        """How many pixels have this colour, or nearly, within left, top, right, bottom."""
        left, top, right, bottom = box or (0, 0, self.width, self.height)
        left, top = max(0, round(left)), max(0, round(top))
        right, bottom = min(self.width, round(right)), min(self.height, round(bottom))
        # Whether a byte is near, as a byte of its own: a row is compared at once.
        tables = [bytes(abs(value - part) <= near for value in range(256)) for part in colour[:3]]
        found = 0
        for line in self.rows[top:bottom]:
            part = line[left * self.step : right * self.step]
            channels = (part[at :: self.step].translate(tables[at]) for at in range(3))
            red, green, blue = (int.from_bytes(channel, "big") for channel in channels)
            found += (red & green & blue).bit_count()
        return found


def unfilter(how, line, before, step):
    """Undoes what a row was filtered with."""
    if how == 1:
        for at in range(step):
            line[at::step] = bytes(one & 255 for one in accumulate(line[at::step]))
    elif how == 2:
        # Byte by byte, in one sum: the upper bits apart, so that nothing is carried over.
        a, b = int.from_bytes(line, "big"), int.from_bytes(before, "big")
        low = int.from_bytes(b"\x7f" * len(line), "big")
        line[:] = (((a & low) + (b & low)) ^ ((a ^ b) & ~low)).to_bytes(len(line), "big")
    elif how:
        for place in range(len(line)):
            left = line[place - step] if place >= step else 0
            up = before[place]
            corner = before[place - step] if place >= step else 0
            if how == 3:
                guess = (left + up) // 2
            else:
                near = left + up - corner
                distance = [abs(near - value) for value in (left, up, corner)]
                guess = (left, up, corner)[distance.index(min(distance))]
            line[place] = (line[place] + guess) & 255
