"""Insert experts into a network, in place, and list the layers that were skipped with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.algebra import KINDS, TRANSPOSED, Base, hooked
from lorkit.decompose.experts.layers import DepthwiseExperts, LowRankExperts
from lorkit.decompose.experts.merging import expert_layers
from lorkit.decompose.experts.norms.activated_norm import is_activated_norm
from lorkit.decompose.experts.norms.region_norm import NORMS, RegionNorm
from lorkit.decompose.experts.routing import Routing, check_names
from lorkit.decompose.machine import check_memory

Select = Callable[[nn.Module, str], bool]

# these read their children's weights without calling them, so experts would be bypassed
_OPAQUE: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_WRAPPERS = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "OptimizedModule", "_FabricModule")


def add_experts_(
    model: nn.Module,
    regions: Iterable[str],
    config: ExpertConfig,
    *,
    select: Select | None = None,
    decoder: Collection[str] = (),
) -> Routing:
    """Add low-rank experts to the dense layers of a network and apply the norm policy of `config`, in place.

    Only layers of exactly the classes Linear, Conv1d/2d/3d and ConvTranspose1d/2d/3d are adapted; a subclass may use
    its weight in another way. The returned routing lists the `wrapped` layers, and the `skipped` ones with the reason.

    Args:
        model: The network, before DDP, compilation or weight averaging wrap it.
        regions: Names, in the order of the routing's indices.
        config: Rank, scale, layout, norm policy.
        select: `(module, name) -> bool`, which layers to adapt; norms depend only on `config`.
        decoder: Names of the layers whose ranks are multiplied by `decoder_rank_factor`.

    Raises:
        UsageError: Nothing was adapted, or the network is wrapped, adapted already, or has a module that would bypass
            its experts.
    """
    routing = Routing(check_names(regions))
    for name in config.ranks:
        routing.index(name)  # raises for unknown regions
    _refuse(model, select)
    weights = [module._parameters.get("weight") for module in model.modules()]
    tied = Counter(id(weight) for weight in weights if weight is not None)
    _check_factors(
        model,
        config,
        routing,
        [name for name, module in model.named_modules() if _reason(module, name, config, select, tied) is None],
    )
    replaced: dict[int, nn.Module] = {}
    in_decoder = config.of_decoder()
    wrapped: list[str] = []
    skipped: list[tuple[str, str]] = []
    # a shared module is listed twice and gets the same wrapper
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) not in replaced:
            reason = _reason(module, name, config, select, tied)
            if reason is None:
                replaced[id(module)] = _wrap(module, in_decoder if name in decoder else config, routing, name)
                if not isinstance(replaced[id(module)], RegionNorm):
                    wrapped.append(name)
            elif reason:
                skipped.append((name, reason))
        if id(module) in replaced:
            model.set_submodule(name, replaced[id(module)])
    routing.wrapped, routing.skipped = tuple(wrapped), tuple(dict.fromkeys(skipped))
    if not wrapped:
        why = "; ".join(f"{name}: {reason}" for name, reason in routing.skipped[:3]) or "it has no layer with weights"
        raise UsageError(
            f"no layer of {type(model).__name__} was adapted ({why})",
            required="at least one Linear, Conv or ConvTranspose layer",
            fix="widen `select`, or choose another backbone",
        )
    return routing


def factor_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the factors and depthwise updates of the experts, without norms."""
    return [
        parameter
        for layer in expert_layers(model).values()
        for name, parameter in layer.named_parameters()
        if not name.startswith("base.")
    ]


def _check_factors(model: nn.Module, config: ExpertConfig, routing: Routing, names: Iterable[str]) -> None:
    """Raise UsageError if the factors of all regions do not fit in the memory that is free, before they are made."""
    ranks = sum(config.rank_of(region) for region in routing.regions)
    sides = 0
    for module in map(model.get_submodule, names):
        weight = module._parameters.get("weight")
        if type(module) in KINDS and weight is not None and not weight.is_meta and getattr(module, "groups", 1) == 1:
            sides += weight.shape[0] + weight[0].numel()  # of the two factors of rank 1; layout reshape has more
    check_memory(
        4 * ranks * sides,
        f"experts of rank {config.rank} in {len(routing.regions)} regions",
        fix="choose a smaller rank, or fewer layers by select_min_channels",
    )


def _refuse(model: nn.Module, select: Select | None) -> None:
    for name, module in model.named_modules():
        kind = type(module).__name__
        where = f"'{name}'" if name else "the model"
        if kind in _WRAPPERS:
            raise UsageError(
                f"{where} is wrapped in {kind}",
                required="the bare network",
                fix="add experts before DDP, compile or EMA: those register parameters when they wrap",
            )
        if isinstance(module, _OPAQUE) and (select is None or select(module, name)):
            raise UsageError(
                f"{where} is a {kind}, which reads the weights of its linear layers and would bypass their experts",
                required="separate q, k, v and out linear layers",
                fix=f"rewrite it, or exclude '{name}' and its children with `select`",
            )
    if expert_layers(model):
        raise UsageError("the model has experts already", required="a plain network", fix="extract a region first")
    if type(model) in KINDS:
        raise UsageError(
            f"the model is a single {type(model).__name__}",
            required="a module that contains it, since it is replaced in place",
            fix="wrap it in nn.Sequential",
        )


def _reason(
    module: nn.Module, name: str, config: ExpertConfig, select: Select | None, tied: Counter[int]
) -> str | None:
    """Return None to wrap a module, the reason to skip it, or "" if it has no weights to adapt."""
    if isinstance(module, _BatchNorm) and config.norm != "shared":
        if config.keeps_shared(name):
            return "its statistics stay shared (lorkd.shared_norms)"
        if type(module) not in NORMS and not is_activated_norm(module):
            return f"class {type(module).__name__} is not a supported class, so its statistics stay shared"
        return "it has hooks or its own forward, so its statistics stay shared" if hooked(module) else None
    weight = getattr(module, "weight", None)
    if type(module) not in KINDS:
        if isinstance(weight, UninitializedParameter):
            return f"class {type(module).__name__} has no weight before its first batch"
        has_matrix = weight is not None and getattr(weight, "dim", lambda: 0)() >= 2
        return f"class {type(module).__name__} is not a supported class" if has_matrix else ""
    if select is not None and not select(module, name):
        return "not selected"
    if hooked(module):
        return "it has hooks or its own forward, which merged weights would bypass"
    if module._parameters.get("weight") is None:
        return "its weight is computed by a hook or parametrization"
    if tied[id(module._parameters["weight"])] > 1:
        return "its weight is shared with another module"
    if getattr(module, "groups", 1) > 1 and not config.depthwise:
        return "grouped convolution (depthwise: false)"
    if type(module) in TRANSPOSED and not config.transposed:
        return "transposed convolution (transposed: false)"
    return None


def _wrap(module: nn.Module, config: ExpertConfig, routing: Routing, name: str) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return RegionNorm(module, config.norm, routing, name).train(module.training)
    kind = DepthwiseExperts if getattr(module, "groups", 1) > 1 else LowRankExperts
    return kind(cast(Base, module), config, routing, name).train(module.training)
