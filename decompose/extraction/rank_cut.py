"""The cost of reducing an expert's rank, measured on the validation split, never on the test split.

Shapes: N images, K classes.
"""

from __future__ import annotations

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.expert import BeforeAfter, CutLayer, CutScores, Reduction
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.inference import predict_logits, score_validation
from lorkit.decompose.experts.truncation import reduce_, total
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.tasks import get_task


def check_rank(live: RegionalModel | SeparateModels, rank: int) -> None:
    """Raise UsageError unless a model has low-rank experts and the rank is valid."""
    if rank < 1:
        raise UsageError(f"--rank {rank}", required="a rank of at least 1", fix="correct it")
    if not isinstance(live, RegionalModel) or not live.routing.wrapped:
        raise UsageError(
            "--rank for a run without low-rank experts of its regions",
            required="a run of method 'lorkd' or 'mola-grad'",
            fix="leave --rank out",
        )


def cut_expert_(
    network: Deployable, live: RegionalModel, rank: int, val: PreparedRegion, logits_NK: Float32Array
) -> tuple[Reduction, Float32Array]:
    """Reduce the rank of an extracted network, in place, and measure the effect on the validation split.

    `rank` is in units of `lorkd.rank`; `logits_NK` are the outputs of `network` on `val` before.

    Returns:
        The `reduction` of `expert.json`, and the logits of the reduced network.
    """
    before = score_validation(network, val, logits_NK, surfaces=False)
    cuts = reduce_(network.network, live.backbone, val.region.name, rank)
    after_NK = predict_logits(network, val)
    task = get_task(val.region.task)
    after = score_validation(network, val, after_NK, surfaces=False)
    found = task.paired(val.region, val.targets, (before, after), val.groups)
    whole = total(cuts)
    reduction = Reduction(
        rank=rank,
        rank_before=whole.rank,
        layers_cut=sum(cut.kept_rank < cut.rank for cut in cuts),
        factor_parameters=BeforeAfter(before=whole.parameters, after=whole.kept_parameters),
        energy_kept=whole.share,
        validation=CutScores(
            metric=task.headline,
            split="val",
            n=found.n,
            groups=found.groups,
            before=found.baseline,
            after=found.candidate,
            drop=found.drop,
            ci=found.ci,
        ),
        layers=[
            CutLayer(layer=cut.layer, rank_before=cut.rank, rank=cut.kept_rank, energy_kept=cut.share) for cut in cuts
        ],
    )
    return reduction, after_NK
