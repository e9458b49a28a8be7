"""AdamW that updates parameters that are consecutive in memory as one tensor.

The factors and norms of all regions lie side by side (`experts.packed`), and so do their gradients: one entry of
torch's fused kernel replaces one per region. State remains one entry per parameter, as in torch's AdamW, so checkpoints
are interchangeable. A parameter without a gradient is not touched: neither its value, nor its moments, nor its step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTS = ("exp_avg", "exp_avg_sq")


class PackedAdamW(torch.optim.AdamW):
    """torch's fused AdamW with fewer and larger tensors on the CPU; on other devices exactly torch's."""

    _runs: dict[int, tuple[tuple[int, ...], list[_Run]]]

    def __init__(self, groups: Sequence[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr, fused=True)
        self._runs = {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, also one of torch's AdamW."""
        super().load_state_dict(state_dict)
        self._runs = {}

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        everything = [one for group in self.param_groups for one in group["params"]]
        if closure is not None or any(one.device.type != "cpu" for one in everything):
            for one in everything:
                one.grad = None if one.grad is None else in_order_of(one, one.grad)
            return super().step(closure)  # type: ignore[no-any-return]
        with torch.no_grad():
            for index, group in enumerate(self.param_groups):
                self._update(self._runs_of(index, group["params"]), group)
        return None

    def _runs_of(self, index: int, parameters: Sequence[nn.Parameter]) -> list[_Run]:
        addresses = tuple(one.data_ptr() for one in parameters)
        known = self._runs.get(index)
        if known is None or known[0] != addresses:
            known = addresses, [_Run(run) for run in _consecutive(parameters)]
            self._runs[index] = known
        return known[1]

    def _update(self, runs: Sequence[_Run], group: dict[str, Any]) -> None:
        values: list[Tensor] = []
        gradients: list[Tensor] = []
        moments: tuple[list[Tensor], list[Tensor]] = ([], [])
        steps: list[Tensor] = []
        counters: list[Tensor] = []
        for run in runs:
            given = [one.grad for one in run.parameters]
            if all(one is None for one in given):
                continue
            run.own(self.state)
            whole = run.joined(given)
            if whole is not None and run.in_step():
                values.append(run.values)
                gradients.append(whole)
                moments[0].append(run.moments[0])
                moments[1].append(run.moments[1])
                steps.append(run.step_of[0])
                counters.append(run.steps)
                torch.autograd.graph.increment_version(run.parameters)
                continue
            run.equal = False
            for at, gradient in enumerate(given):
                if gradient is not None:
                    parameter = run.parameters[at]
                    state = self.state[parameter]
                    values.append(parameter)
                    gradients.append(in_order_of(parameter, gradient))
                    moments[0].append(state["exp_avg"])
                    moments[1].append(state["exp_avg_sq"])
                    steps.append(state["step"])
                    counters.append(state["step"])
        if not values:
            return
        torch._foreach_add_(counters, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            values,
            gradients,
            *moments,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class _Run:
    """Parameters that are consecutive in memory, with their state as slices of one tensor each."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = tuple(parameters)
        self.size = sum(one.numel() for one in parameters)
        self.shapes = [(one.stride(), one.numel() * one.element_size()) for one in parameters]
        first = parameters[0].data
        self.values = _flat(first, self.size) if len(parameters) > 1 else first
        self.moments: tuple[Tensor, Tensor] = (self.values, self.values)  # until `own`
        self.steps = self.values
        self.step_of: tuple[Tensor, ...] = ()
        self.equal = False

    def own(self, states: dict[Tensor, Any]) -> None:
        """Make the state of these parameters slices of one tensor each, with the values that they have."""
        if self.step_of:
            return
        self.steps = torch.zeros(len(self.parameters))
        self.step_of = self.steps.unbind()
        self.moments = (torch.zeros_like(self.values), torch.zeros_like(self.values))
        start = 0
        for parameter, step in zip(self.parameters, self.step_of, strict=True):
            state, before = states[parameter], dict(states[parameter])
            state["step"] = step.copy_(before["step"]) if before else step
            for key, moment in zip(_MOMENTS, self.moments, strict=True):
                alone = len(self.parameters) == 1
                state[key] = moment if alone else moment.as_strided(parameter.shape, parameter.stride(), start)
                if before:
                    state[key].copy_(before[key])
            start += parameter.numel()

    def in_step(self) -> bool:
        """Return whether all parameters have been updated equally often."""
        self.equal = self.equal or len(set(self.steps.tolist())) == 1
        return self.equal

    def joined(self, gradients: Sequence[Tensor | None]) -> Tensor | None:
        """Return all gradients as one tensor, or None unless they are consecutive in one memory in the same order."""
        first = gradients[0]
        if first is None:
            return None
        if len(gradients) == 1:
            return in_order_of(self.parameters[0], first)
        address, last = first.data_ptr(), first
        for gradient, (stride, size) in zip(gradients, self.shapes, strict=True):
            if gradient is None or gradient.data_ptr() != address or gradient.stride() != stride:
                return None
            address, last = address + size, gradient
        # with equal distances of address and offset the last one, and so all of them, are in the memory of the first
        if last.storage_offset() - first.storage_offset() != self.size - last.numel():
            return None
        return _flat(first, self.size)


def _consecutive(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Group parameters into runs that are consecutive in one memory."""
    runs: list[list[nn.Parameter]] = []
    for parameter in sorted(parameters, key=lambda one: one.data_ptr()):
        before = runs[-1][-1] if runs else None
        if before is not None and _follows(parameter, before):
            runs[-1].append(parameter)
        else:
            runs.append([parameter])
    return runs


def _follows(parameter: nn.Parameter, before: nn.Parameter) -> bool:
    return (
        _dense(parameter)
        and _dense(before)
        and parameter.dtype == before.dtype
        and parameter.requires_grad == before.requires_grad
        and parameter.data_ptr() == before.data_ptr() + before.numel() * before.element_size()
        and parameter.storage_offset() == before.storage_offset() + before.numel()
    )


def _dense(parameter: Tensor) -> bool:
    """Return whether the elements fill their memory without gaps."""
    reach = sum((size - 1) * step for size, step in zip(parameter.shape, parameter.stride(), strict=True))
    return parameter.numel() == reach + 1


def _flat(first: Tensor, size: int) -> Tensor:
    return first.as_strided((size,), (1,), first.storage_offset())


def in_order_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return a gradient in the memory order of its parameter.

    torch's fused kernels on the CPU (2.13) iterate over both in memory order, and would silently combine a
    channels-last and a plain layout in the wrong order.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)
