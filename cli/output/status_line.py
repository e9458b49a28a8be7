"""One line of progress that fits its terminal: what is told is shortened, step by step, before anything is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rich.text import Text

SHORT = {"feature_kd": "fkd", "logit_kd": "lkd", "projector": "prj", "hybrid": "hyb"}
"""Loss terms as narrow terminals name them; others are short already."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one frame shows.

    Attributes:
        text: What is being done.
        part: Which part of it, as an epoch.
        done: Steps done.
        total: Of so many.
        losses: Loss terms of the last step.
        rate: Images a second.
        left: Seconds that remain; None where nothing is known yet.
        elapsed: Seconds since the beginning.
        memory_mib: Resident set of the process.
        cuda_mib: Most that was held at once on its GPU; None without one.
    """

    text: str
    done: int
    total: int
    part: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)
    rate: float | None = None
    left: float | None = None
    elapsed: float = 0.0
    memory_mib: float = 0.0
    cuda_mib: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How much room a line takes: `bar` columns of a bar, `digits` after the point, names and units long or short."""

    bar: int = 0
    part: bool = True
    short: bool = True
    digits: int = 3
    summed: bool = False
    unit: str = "img/s"
    rate: bool = True
    memory: bool = True
    tight: bool = False


_FORMS = (
    _Form(bar=24, short=False, unit="images/s"),
    _Form(bar=10, short=False, unit="images/s"),
    _Form(bar=10),
    _Form(),
    _Form(part=False, digits=2, unit="im/s"),
    _Form(part=False, digits=2, unit="im/s", tight=True),
    _Form(part=False, summed=True, unit="im/s", tight=True),
    _Form(part=False, summed=True, unit="im/s", tight=True, memory=False),
    _Form(part=False, summed=True, tight=True, memory=False, rate=False),
)
_LEAST = 16  # columns of a text that is cut before a fact goes


class StatusLine:
    """Readings as one line each. A form left for a narrower one stays left until the text changes: nothing flickers.

    Args:
        bar: The character of which the bar is made.
    """

    def __init__(self, bar: str = "━") -> None:
        self._bar = bar
        self._for = (0, "", "")
        self._form = 0

    def render(self, reading: Reading, width: int) -> Text:
        """Return a line of at most `width` columns."""
        if (subject := (width, reading.text, reading.part)) != self._for:
            self._for, self._form = subject, 0
        for form in range(self._form, len(_FORMS)):
            line = _line(reading, _FORMS[form], self._bar)
            over = line.cell_len - width
            least = _LEAST if form + 1 < len(_FORMS) else 2
            if over > 0 and _FORMS[form].tight and len(reading.text) - over >= least:
                line = _line(replace(reading, text=_cut(reading.text, over)), _FORMS[form], self._bar)
            if line.cell_len <= width:
                break
        self._form = form
        line.truncate(width, overflow="ellipsis")
        return line


def _line(reading: Reading, form: _Form, bar: str) -> Text:
    part = f" {reading.part}" if reading.part and form.part else ""
    head = f"{reading.text}{part}  {reading.done:>{len(str(reading.total))}}/{reading.total}"
    facts = [_losses(reading, form), _rate(reading, form), _time(reading, form), _memory(reading, form)]
    drawn = [_drawn(reading, form.bar, bar)] if form.bar else []
    return Text(" " if form.tight else "  ").join([Text(head), *drawn, *(Text(fact) for fact in facts if fact)])


def _cut(text: str, over: int) -> str:
    """Take `over` characters out of the middle, where a path has the least to say."""
    kept = len(text) - over - 1
    return f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"


def _drawn(reading: Reading, width: int, bar: str) -> Text:
    full = round(width * min(1.0, reading.done / reading.total)) if reading.total else 0
    rest = " " if bar == "-" else bar  # where a terminal has no other character, only what is done is drawn
    return Text.assemble((bar * full, "bar.complete"), (rest * (width - full), "bar.back"))


def _losses(reading: Reading, form: _Form) -> str:
    if not reading.losses:
        return ""
    if form.summed:
        return f"loss {_number(sum(reading.losses.values()), form.digits)}"
    terms = {SHORT.get(term, term) if form.short else term: value for term, value in reading.losses.items()}
    return " ".join(f"{term} {_number(value, form.digits)}" for term, value in terms.items())


def _number(value: float, digits: int) -> str:
    """Return a number in digits + 2 characters, as long as it is below 10 ** (digits + 1)."""
    room = digits + 2
    for decimals in range(digits, -1, -1):
        if len(text := f"{value:.{decimals}f}") <= room:
            return text.rjust(room)
    return f"{value:.0e}"


def _rate(reading: Reading, form: _Form) -> str:
    return "" if reading.rate is None or not form.rate else f"{reading.rate:>3.0f} {form.unit}"


def _time(reading: Reading, form: _Form) -> str:
    if reading.left is None:
        return f"{_clock(reading.elapsed, form)} so far"
    return f"ETA {_clock(reading.left, form)}"


def _clock(seconds: float, form: _Form) -> str:
    """Return seconds as m:ss, from an hour on as h:mm:ss, or as 1h23 where there is little room."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02}"
    return f"{hours}h{minutes:02}" if form.tight else f"{hours}:{minutes:02}:{rest:02}"


def _memory(reading: Reading, form: _Form) -> str:
    if not form.memory:
        return ""
    held = [reading.memory_mib, *(() if reading.cuda_mib is None else (reading.cuda_mib,))]
    if form.tight:
        return "+".join(_size(value, "M", "G") for value in held)
    found = [_size(value, " MiB", " GiB") for value in held]
    words = ("memory ", "GPU peak ") if not form.short else ("", "GPU ")
    return "  ".join(f"{word}{value}" for word, value in zip(words, found, strict=False))


def _size(mib: float, mega: str, giga: str) -> str:
    return f"{mib / 1024:.1f}{giga}" if mib >= 1000 else f"{mib:.0f}{mega}"
