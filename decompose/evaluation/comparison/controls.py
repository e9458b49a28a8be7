"""Controls of distillation: what a method that learns from the foundation owes to the foundation's knowledge.

- The student alone, `stl`, with the same settings of student and training, and with `budget` `steps` the same steps.
- The same method with a random teacher (`training.foundation.random_teacher`).
- `linear-probe`: what the foundation's features give without any student.

Controls are recognised by method and settings, so that those of earlier calls count too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lorkit.decompose.config import Config, with_overrides
from lorkit.decompose.documents.compare import ComparedPair, ControlledMethod, Gain, MethodRow
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import FOUNDATION, ComparedMethod
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.teacher import TEACHER
from lorkit.decompose.training.foundation.random_teacher import NO_RANDOM_TEACHER

STUDENT, PROBE = "stl", "linear-probe"
Key = tuple[str, tuple[str, ...], bool]
"""Method, settings of a variant, and whether its teacher is random."""
_OF_STUDENTS = ("student", "train")
"""Sections whose settings a student alone has too."""
NOT_BUILT = f"no random teacher: {NO_RANDOM_TEACHER}. The row 'foundation' has the values of {PROBE}"


def with_controls(config: Config, methods: Sequence[ComparedMethod], *, own_teacher: bool) -> list[ComparedMethod]:
    """Return methods with the controls of those that learn from the foundation, each random teacher after its method.

    Args:
        config: Settings that all methods share.
        methods: Compared methods.
        own_teacher: Whether the foundation is the user's own network, which has no random twin and no linear probe.

    Raises:
        UsageError: There are further teachers, no method learns from the foundation, or a control would have the label
            of another method.
    """
    if config.teachers:
        raise UsageError(
            "--controls with teachers",
            required="one teacher, the foundation: a random teacher stands in for it alone",
            fix="leave teachers out, or compare without --controls",
        )
    learning = [one for one in methods if get_method(one.config.method).uses_teacher]
    if not learning:
        raise UsageError(
            f"--controls with {', '.join(one.label for one in methods)}",
            required="a method that learns from the foundation, such as kd, rd or lorkd",
            fix="add one, or leave --controls out",
        )
    found = list(methods)
    for one in learning if not own_teacher else ():
        random = replace(one, label=f"{one.label}-random-teacher", random_teacher=True)
        _add(found, random, found.index(one) + 1)
    for one in learning:
        settings = settings_of_student(one.settings)
        _add(found, _control(config, f"{one.label}-student-alone" if settings else STUDENT, STUDENT, settings))
    if not own_teacher:
        _add(found, _control(config, PROBE, PROBE, ()))
    return found


def _add(methods: list[ComparedMethod], control: ComparedMethod, place: int | None = None) -> None:
    """Add a control, in place, unless it is compared already, by its own name or as a variant."""
    if any(_key(one.row) == _key(control.row) for one in methods):
        return
    if control.label in [one.label for one in methods]:
        raise UsageError(
            f"variant '{control.label}', which is the name of a control",
            required="another label of the variant",
            fix="rename it",
        )
    methods.insert(len(methods) if place is None else place, control)


def _key(row: MethodRow, *, random_teacher: bool | None = None) -> Key:
    """Return what tells a method from others, whatever its label."""
    return row.method, tuple(row.settings), row.random_teacher if random_teacher is None else random_teacher


def settings_of_student(settings: Sequence[str]) -> tuple[str, ...]:
    """Return the settings of a variant that its student alone has too."""
    return tuple(text for text in settings if text.replace("=", ".").partition(".")[0].strip() in _OF_STUDENTS)


def _control(config: Config, label: str, method: str, settings: tuple[str, ...]) -> ComparedMethod:
    return ComparedMethod(label=label, config=with_overrides(config, settings, method=method), settings=settings)


def controlled(
    methods: Sequence[MethodRow], keys: Collection[tuple[str, float]], pairs: Sequence[ComparedPair], backbone: str
) -> list[ControlledMethod]:
    """Return each method that learns from the foundation and has a control.

    Args:
        methods: The row of every label.
        keys: Label and fraction of the rows of the table.
        pairs: Each two of them that have common seeds.
        backbone: That of the foundation.
    """
    drops = {(pair.baseline, pair.candidate, pair.fraction): pair for pair in pairs}
    reason = NO_RANDOM_TEACHER if backbone.startswith(TEACHER) else None
    found = []
    for label, fraction in keys:
        row = next((one for one in methods if one.label == label), None)
        if row is None or row.random_teacher or not get_method(row.method).uses_teacher:
            continue

        def control(key: Key, part: float = fraction) -> str | None:
            return next((one.label for one in methods if _key(one) == key and (one.label, part) in keys), None)

        student = control((STUDENT, settings_of_student(row.settings), False))
        random, probe = control(_key(row, random_teacher=True)), control((PROBE, (), False))
        if reason and fraction == 1.0:  # of a fraction, its probes have seen more than the student
            probe = FOUNDATION
        if student or random or probe:
            one = ControlledMethod(
                label=label,
                fraction=fraction,
                over_student=gain(drops, label, student, fraction),
                random_over_student=gain(drops, random, student, fraction),
                over_random=gain(drops, label, random, fraction),
                over_probe=gain(drops, label, probe, fraction),
            )
            found.append(one.with_changes(without_random_teacher=reason) if reason and random is None else one)
    return found


def gain(
    drops: Mapping[tuple[str, str, float], ComparedPair], label: str | None, over: str | None, fraction: float
) -> Gain | None:
    """Return the gain of a row over another one of the same fraction; None without a row or common seeds."""
    if label is None or over is None:
        return None
    if (pair := drops.get((over, label, fraction))) is not None:
        low, high = pair.mean_drop.ci  # taken from 0, so that there is no -0
        return Gain(
            label=label, over=over, seeds=pair.seeds, gain=0.0 - pair.mean_drop.drop, ci=(0.0 - high, 0.0 - low)
        )
    if (pair := drops.get((label, over, fraction))) is not None:
        return Gain(label=label, over=over, seeds=pair.seeds, gain=pair.mean_drop.drop, ci=pair.mean_drop.ci)
    return None
