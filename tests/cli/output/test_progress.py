"""Progress: lines without a terminal, bars on one, and nothing left of the bars when something fails."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from lorkit.cli.output.progress import Steps, Training
from lorkit.decompose.events import Finished, Notice, Started, Step, Validated, Working, tracked

STEP = Step(
    phase="lorkd",
    epoch=1,
    epochs=4,
    step=2,
    steps=10,
    losses={"ce": 0.5},
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


def screen(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, highlight=False), text


def test_training_without_a_terminal_is_a_line_an_epoch() -> None:
    console, text = screen(terminal=False)
    with Training(console) as progress:
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


def test_training_on_a_terminal_shows_step_terms_rate_remaining_time_and_memory() -> None:
    console, text = screen(terminal=True)
    with Training(console) as progress:
        progress(Started(phase="lorkd", epochs=4, steps=10))
        assert progress.frame().plain == ""
        progress(STEP)
        shown = progress.frame().plain
        line = r"lorkd 2/4  13/40  ━{24}  ce 0\.500  100 images/s  ETA 0:0[23]  memory .* .iB"
        assert re.fullmatch(line, shown), shown
        assert progress.live is not None
        progress.live.refresh()
        progress(VALIDATED)
        assert "13/40" in progress.frame().plain
        progress(Finished(phase="lorkd", best_epoch=1, best=0.75, seconds=1.0))
        assert progress.frame().plain == ""
    assert "ce 0.500" in text.getvalue()
    assert text.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in text.getvalue(), "the cursor is back"


def test_time_goes_on_between_two_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation tells nothing for seconds: what remains and what has passed must not stand still."""
    now = 100.0
    monkeypatch.setattr("lorkit.cli.output.progress.time.monotonic", lambda: now)
    console, _ = screen(terminal=True)
    training, steps = Training(console), Steps("gate", console)
    training(STEP)
    steps("chest", 0, 2)
    assert "ETA 0:03" in training.frame().plain
    assert "0:00 so far" in steps.frame().plain
    now = 102.0
    assert "ETA 0:01" in training.frame().plain
    assert "0:02 so far" in steps.frame().plain
    now = 110.0
    assert "ETA 0:00" in training.frame().plain
    steps("brain", 1, 2)
    assert "ETA 0:10" in steps.frame().plain
    steps("another list", 0, 9)
    assert "0:00 so far" in steps.frame().plain, "its items take another time each"


def test_images_are_counted_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("lorkit.cli.output.progress.time.monotonic", lambda: now)
    console, _ = screen(terminal=True)
    steps = Steps("predict", console, images=True)
    steps("chest", 0, 300)
    assert "images/s" not in steps.frame().plain
    now = 102.0
    steps("chest", 100, 300)
    assert "100/300" in steps.frame().plain
    assert "  50 images/s  ETA 0:04  " in steps.frame().plain


def test_reading_and_preparing_show_what_is_left_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("lorkit.cli.output.progress.time.monotonic", lambda: now)
    console, _ = screen(terminal=True)
    training = Training(console)
    training(Working(text="preparing chest", done=0, total=40))
    assert training.frame().plain.startswith("preparing chest   0/40  ")
    assert "0:00 so far" in training.frame().plain
    now = 110.0
    training(Working(text="preparing chest", done=10, total=40))
    assert "ETA 0:30" in training.frame().plain
    training(Working(text="preparing brain", done=0, total=40))
    assert "0:00 so far" in training.frame().plain, "another region's images take another time each"
    training(Started(phase="lorkd", epochs=1, steps=1))
    assert training.frame().plain == ""


def test_what_is_tracked_is_told_before_each_item_and_after_the_last() -> None:
    told: list[Working] = []
    for item in tracked("ab", "reading", told.append):
        assert told[-1] == Working(text="reading", done="ab".index(item), total=2)
    assert told[-1] == Working(text="reading", done=2, total=2)
    assert len(told) == 3


def test_only_the_first_of_processes_that_train_together_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    console, _ = screen(terminal=True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Training(console).live is None
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert Training(console).live is not None


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_off_a_terminal_no_variable_brings_the_live_line_back(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such variables ask for colours; a log would hold a thousand lines that erase each other."""
    monkeypatch.setenv(name, "1")
    with Training() as progress:
        progress(Started(phase="lorkd", epochs=4, steps=10))
        progress(STEP)
    assert progress.live is None
    assert capsys.readouterr().err == "lorkd: 4 epochs of 10 steps\n"


def test_a_terminal_that_cannot_erase_gets_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert Training(console).live is None


def test_steps_without_a_terminal_say_each_text_once() -> None:
    console, text = screen(terminal=False)
    with Steps("export", console) as progress:
        progress("chest", 0, 2)
        progress("chest", 0, 2)
        progress("brain", 1, 2)
        progress("done", 2, 2)
    assert text.getvalue().splitlines() == ["export: chest (1/2)", "export: brain (2/2)"]


def test_the_cursor_comes_back_after_an_error() -> None:
    console, text = screen(terminal=True)
    with pytest.raises(KeyboardInterrupt):
        interrupt(Steps("gate", console))
    assert "\x1b[?25h" in text.getvalue()


def interrupt(progress: Steps) -> None:
    with progress:
        progress("chest", 0, 1)
        raise KeyboardInterrupt
