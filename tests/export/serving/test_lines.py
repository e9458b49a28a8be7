"""Lines are those of the stream, whatever parts they arrive in, and a huge one takes little memory."""

from __future__ import annotations

import io
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from lorkit.export.serving.lines import LONGEST, read_lines


class Parts:
    """A stream that gives its parts one by one, and tells when it is asked."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts, self.asked = parts, 0

    def read1(self, size: int, /) -> bytes:
        """Return the next part."""
        self.asked += 1
        return self.parts.pop(0) if self.parts else b""


@given(st.lists(st.binary(min_size=1, max_size=9).map(lambda part: part.replace(b"\x00", b"\n")), max_size=9))
def test_lines_are_those_of_the_whole_in_any_parts(parts: list[bytes]) -> None:
    found = [line for line in read_lines(Parts(list(parts))) if line is not None]
    assert found == [line.removesuffix(b"\n") for line in io.BytesIO(b"".join(parts))]


def test_what_has_arrived_can_be_answered_before_the_wait_for_more() -> None:
    source = Parts([b"a\nb", b"c", b"\nd\n", b"e"])
    seen = []
    for line in read_lines(source):
        seen.append((line, source.asked))
    assert seen == [(b"a", 1), (None, 1), (b"bc", 3), (b"d", 3), (None, 3), (b"e", 5)]


def test_a_huge_line_is_cut_in_bounded_memory() -> None:
    class Endless:
        """A line of 32 MiB, and another one."""

        left = 512

        def read1(self, size: int, /) -> bytes:
            """Return a part."""
            self.left -= 1
            return b"x" * 65536 if self.left > 0 else b"\nlast" if self.left == 0 else b""

    tracemalloc.start()
    sizes = [len(line) for line in read_lines(Endless()) if line is not None]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes[1:] == [4]
    assert LONGEST < sizes[0] <= LONGEST + 65537
    assert peak < 5 * LONGEST
