"""Progress: lines without a terminal, bars on one, and nothing left of the bars when something fails."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lorkit.cli.progress import Steps, Training
from lorkit.decompose.events import Notice, Started, Step, Validated

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


def test_training_on_a_terminal_has_a_bar_with_rates() -> None:
    console, text = screen(terminal=True)
    with Training(console) as progress:
        progress(Started(phase="lorkd", epochs=4, steps=10))
        progress(STEP)
        assert progress.bars is not None
        (task,) = progress.bars.tasks
        assert (task.completed, task.total) == (12, 40)
        assert task.fields["detail"] == "ce 0.500  100 images/s"
        progress(Started(phase="next", epochs=1, steps=1))
        assert progress.bars.tasks == []
    assert text.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in text.getvalue(), "the cursor is back"


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
