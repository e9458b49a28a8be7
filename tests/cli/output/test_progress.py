"""Progress: lines without a terminal, bars on one, and nothing left of the bars when something fails."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from lorkit.cli.output.progress import ProgressLine
from lorkit.decompose.events import Finished, Notice, Started, Step, Validated, Working, with_progress

STEP = Step(
    phase="lorkd",
    epoch=1,
    epochs=4,
    step=2,
    steps=10,
    losses={"ce": 0.5, "feature_kd": 0.15, "logit_kd": 0.1},
    images_per_second=100.0,
    loader_images_per_second=900.0,
    eta_s=3.0,
    memory_mib=10.0,
)
VALIDATED = Validated(
    phase="lorkd",
    epoch=1,
    epochs=4,
    metric="balanced_accuracy",
    scores={"chest": 0.75},
    mean=0.75,
    best=True,
    images_per_second=100.0,
)


class Clock:
    """The time that a console goes by."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(
    *, terminal: bool = True, width: int = 160, clock: Clock | None = None, **options: Any
) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=terminal, width=width, highlight=False, get_time=clock or Clock(), **options
    )
    return console, text


def frame(progress: ProgressLine) -> str:
    """The line as it is now."""
    console = progress.progress.console
    lines = console.render_lines(progress.progress.get_renderable(), pad=False)
    assert len(lines) <= 1
    text = "".join(segment.text for line in lines for segment in line)
    assert cell_len(text) < console.width
    return text.rstrip()


def test_training_without_a_terminal_is_a_line_an_epoch() -> None:
    console, text = screen(terminal=False)
    with ProgressLine(console=console) as progress:
        progress(Notice(text="logit KD is off"))
        progress(Started(phase="lorkd", epochs=4, steps=10, first_epoch=1, parameters=2_500_000))
        for _ in range(10):
            progress(STEP)
        progress(VALIDATED)
    lines = text.getvalue().splitlines()
    assert lines[0] == "note: logit KD is off"
    assert lines[1] == "lorkd: 4 epochs of 10 steps, 2.5 M parameters, from epoch 2"
    assert lines[2].startswith("lorkd 2/4: balanced accuracy 0.750  chest 0.750  100 images/s")
    assert len(lines) == 3


def test_an_epoch_that_is_not_validated_states_its_losses() -> None:
    console, text = screen(terminal=False)
    losses = {"hint": {"chest": 0.5, "knee": 0.25}, "other": {"chest": 0.125}}
    with ProgressLine(console=console) as progress:
        progress(replace(VALIDATED, phase="predistil", metric="", scores={}, mean=None, losses=losses))
    assert text.getvalue().startswith("predistil 2/4: loss  chest 0.625  knee 0.250  100 images/s")
    assert "best" not in text.getvalue()


def test_the_rate_of_a_graph_is_of_nodes() -> None:
    console, text = screen(terminal=False)
    with ProgressLine(console=console) as progress:
        progress(replace(VALIDATED, case="node"))
    assert "100 nodes/s" in text.getvalue()
    console, _ = screen()
    with ProgressLine(console=console) as progress:
        progress(replace(STEP, case="node"))
        assert "100 nodes/s" in frame(progress)


def test_training_on_a_terminal_shows_step_terms_rate_remaining_time_and_memory() -> None:
    console, text = screen()
    with ProgressLine(console=console) as progress:
        progress(Started(phase="lorkd", epochs=4, steps=10))
        assert frame(progress) == ""
        progress(STEP)
        line = r"lorkd 2/4 13/40 ━.{19} ce 0\.500 feature_kd 0\.150 logit_kd 0\.100 100 images/s ETA 0:03 memory .* .iB"
        assert re.fullmatch(line, frame(progress))
        progress.progress.refresh()
        progress(VALIDATED)
        assert "13/40" in frame(progress)
        progress(Finished(phase="lorkd", best_epoch=1, best=0.75, seconds=1.0))
        assert frame(progress) == ""
    assert "ce 0.500" in text.getvalue()
    assert "\x1b[?25h" in text.getvalue(), "the cursor is back"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (90, r"lorkd 2/4 13/40 ━.{19} loss 0\.750 100 images/s ETA 0:03 memory [\d.]+ [MG]iB"),
        (80, r"lorkd 2/4 13/40 loss 0\.750 100 images/s ETA 0:03 memory [\d.]+ [MG]iB"),
        (40, r"lorkd 2/4 13/40 loss 0\.750 ETA 0:03"),
        (30, r"lorkd 2/4 13/40 ETA 0:03"),
        (20, r"lorkd 2/4 ETA 0:03"),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(width: int, line: str) -> None:
    console, _ = screen(width=width)
    training = ProgressLine(console=console)
    training(STEP)
    assert re.fullmatch(line, frame(training)), frame(training)


@pytest.mark.parametrize("width", range(8, 140, 7))
@pytest.mark.parametrize("text", ["chest", "runs/phantom-lorkd-b4100c0a/exports/chest/onnx-cpu-x86-fp32", ""])
def test_no_line_is_too_long(width: int, text: str) -> None:
    console, _ = screen(width=width)
    steps = ProgressLine("verify", console)
    for done, total in ((0, 0), (0, 9), (5, 9)):
        steps(Working(text, done, total))
        assert frame(steps)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (45, "extract: thoracic-spine 0/5 0:33 elapsed"),
        (40, "thoracic-spine 0/5 0:33 elapsed"),
        (30, "thoracic-spine 0:33 elapsed"),
        (20, "thoracic-spine"),
        (12, "thoracic-s…"),
    ],
)
def test_the_command_and_then_count_and_time_give_way_to_the_item(width: int, line: str) -> None:
    clock = Clock()
    console, _ = screen(width=width, clock=clock)
    steps = ProgressLine("extract", console)
    steps(Working("thoracic-spine", 0, 5))
    clock.now += 33
    assert frame(steps) == line


def test_an_item_that_is_too_long_is_cut_before_count_and_time() -> None:
    clock = Clock()
    console, _ = screen(width=40, clock=clock)
    steps = ProgressLine("verify", console)
    steps(Working("runs/phantom/exports/chest/onnx", 0, 5))
    clock.now += 3
    steps(Working("runs/phantom/exports/chest/onnx", 1, 5))
    assert frame(steps) == "runs/phantom/exports/ches… 1/5 ETA 0:12"


def test_terminals_without_box_characters_get_a_plain_bar() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, force_terminal=True, width=160)
    training = ProgressLine(console=console)
    training(STEP)
    assert "━" not in frame(training)
    assert " ------" in frame(training)


def test_time_goes_on_between_two_reports() -> None:
    """A validation tells nothing for seconds: what remains and what has passed must not stand still."""
    clock = Clock()
    console, _ = screen(clock=clock)
    training, steps = ProgressLine(console=console), ProgressLine("gate", console)
    training(STEP)
    steps(Working("chest", 0, 2))
    assert "ETA 0:03" in frame(training)
    assert "0:00 elapsed" in frame(steps)
    clock.now += 2
    assert "ETA 0:01" in frame(training)
    assert "0:02 elapsed" in frame(steps)
    clock.now += 8
    assert "ETA 0:00" in frame(training)
    steps(Working("brain", 1, 2))
    assert "ETA 0:10" in frame(steps)
    steps(Working("another list", 0, 9))
    assert "0:00 elapsed" in frame(steps), "its items take another time each"
    clock.now += 3700
    steps(Working("another list", 1, 9))
    assert "ETA 8:13:20" in frame(steps)


def test_images_are_counted_by_the_second() -> None:
    clock = Clock()
    console, _ = screen(clock=clock)
    steps = ProgressLine("predict", console, images=True)
    steps(Working("chest", 0, 300))
    assert "images/s" not in frame(steps)
    clock.now += 2
    steps(Working("chest", 100, 300))
    assert "100/300" in frame(steps)
    assert "  50 images/s ETA 0:04 " in frame(steps)


def test_reading_and_preparing_show_what_is_left_of_them() -> None:
    clock = Clock()
    console, _ = screen(clock=clock)
    training = ProgressLine(console=console)
    training(Working("preparing chest", 0, 40))
    assert frame(training).startswith("preparing chest  0/40 ")
    assert "0:00 elapsed" in frame(training)
    clock.now += 10
    training(Working("preparing chest", 10, 40))
    assert "ETA 0:30" in frame(training)
    training(Working("preparing brain", 0, 40))
    assert "0:00 elapsed" in frame(training), "another region's images take another time each"
    training(Started(phase="lorkd", epochs=1, steps=1))
    assert frame(training) == ""


def test_a_list_that_begins_anew_is_not_drawn_with_the_time_of_the_last_one() -> None:
    clock = Clock()
    console, text = screen(clock=clock)
    with ProgressLine(console=console) as training:
        training(Working("preparing chest", 0, 40))
        clock.now += 10
        training(Working("preparing chest", 40, 40))
        training(Working("preparing brain", 0, 40))
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())
    assert re.search(r"preparing brain  0/40 \S+ 0:00 elapsed", drawn)
    assert not re.search(r" 0/40 \S+ ETA", drawn)


def test_what_is_tracked_is_told_before_each_item_and_after_the_last() -> None:
    told: list[Working] = []
    for item in with_progress("ab", "reading", told.append):
        assert told[-1] == Working("reading", "ab".index(item), 2)
    assert told[-1] == Working("reading", 2, 2)
    assert len(told) == 3


def test_only_the_first_of_processes_that_train_together_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    console, _ = screen()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not ProgressLine(console=console).live
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert ProgressLine(console=console).live


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_off_a_terminal_no_variable_brings_the_live_line_back(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such variables ask for colours; a log would hold a thousand lines that erase each other."""
    monkeypatch.setenv(name, "1")
    with ProgressLine() as progress:
        progress(Started(phase="lorkd", epochs=4, steps=10))
        progress(STEP)
    assert not progress.live
    assert capsys.readouterr().err == "lorkd: 4 epochs of 10 steps\n"


def test_a_terminal_that_cannot_erase_gets_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert not ProgressLine(console=console).live


def test_steps_without_a_terminal_say_each_text_once() -> None:
    console, text = screen(terminal=False)
    with ProgressLine("export", console) as progress:
        progress(Working("chest", 0, 2))
        progress(Working("chest", 0, 2))
        progress(Working("brain", 1, 2))
        progress(Working("done", 2, 2))
    assert text.getvalue().splitlines() == ["export: chest (1/2)", "export: brain (2/2)"]


def test_the_cursor_comes_back_after_an_error() -> None:
    console, text = screen()
    with pytest.raises(KeyboardInterrupt):
        interrupt(ProgressLine("gate", console))
    assert "\x1b[?25h" in text.getvalue()


def interrupt(progress: ProgressLine) -> None:
    with progress:
        progress(Working("chest", 0, 1))
        raise KeyboardInterrupt


def test_words_between_colons_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("predict") as progress:
        progress(Notice(text="phantom:brain: a leak"))
        progress(Working("x:brain:1.png", 0, 1))
    assert capsys.readouterr().err == "note: phantom:brain: a leak\npredict: x:brain:1.png (1/1)\n"


def silence(progress: ProgressLine, text: io.StringIO, *told: Any) -> list[str]:
    """The lines of a command that reports this and then works in silence until it has printed another line."""
    with progress:
        for event in told:
            progress(event)
        spoken = len(text.getvalue().splitlines())
        deadline = time.monotonic() + 20
        while len(text.getvalue().splitlines()) == spoken and time.monotonic() < deadline:
            time.sleep(0.01)
    return text.getvalue().splitlines()


def test_a_long_epoch_without_a_terminal_says_how_far_it_is() -> None:
    console, text = screen(terminal=False)
    *_, last = silence(ProgressLine(console=console, period=0.05), text, STEP)
    assert last == "lorkd 2/4: step 13 of 40, loss 0.750, 100 images/s, ETA 0:03, 0:00 since the start"


def test_a_long_step_without_a_terminal_says_how_far_it_is() -> None:
    console, text = screen(terminal=False)
    lines = silence(ProgressLine("export", console, period=0.05), text, Working("chest", 0, 2))
    assert lines[:2] == ["export: chest (1/2)", "export: chest: 0 of 2 done, 0:00 since the start"]


@pytest.mark.parametrize("told", [[], [STEP, Finished(phase="lorkd", best_epoch=1, best=0.5, seconds=1.0)]])
def test_a_step_without_reports_says_that_it_works(told: list[Any]) -> None:
    console, text = screen(terminal=False)
    assert silence(ProgressLine(console=console, period=0.05), text, *told)[-1] == "still working: 0:00 since the start"


def test_a_terminal_gets_no_such_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    console, text = screen()
    with ProgressLine("export", console, period=0.01) as progress:
        progress(Working("chest", 0, 2))
        time.sleep(0.1)
    assert "since the start" not in text.getvalue()
    monkeypatch.setenv("LOCAL_RANK", "1")
    console, text = screen(terminal=False)
    with ProgressLine("export", console, period=0.01) as progress:
        progress(Notice(text="once"))
        time.sleep(0.1)
    assert text.getvalue() == "", "the first of several processes has told it"
