"""CKA as a term of training: the negative similarity, with a count of the batches that had none."""

from __future__ import annotations

from torch import Tensor, nn

from lorkit.decompose.methods.losses.cka.products import MIN_SAMPLES, Estimator, ProductSpace, check_options
from lorkit.decompose.methods.losses.cka.similarity import samples_of, sides, similarity
from lorkit.decompose.methods.losses.cka.views import View


class CKALoss(nn.Module):
    """The loss -CKA; add 1 for one that ends at 0.

    CKA fixes neither the scale of features nor, where both sides train, that they keep more than one direction: a
    task loss beside it does. At fewer than 32 samples the unbiased loss has steep gradients: lower its weight.

    Args:
        estimator: "biased", the papers' form, or "unbiased".
        view: What a sample is; see `views.sample_matrices`.
        space: "gram", "feature", or "auto" for the cheaper one by shape.
        gather: Join the samples of all ranks; see `cka`.
        detach_target: Let no gradient reach the second side.

    Attributes:
        skipped: Batches with too few samples for the estimator; their loss is 0, with gradients of 0.
    """

    def __init__(
        self,
        *,
        estimator: Estimator = "biased",
        view: View = "gap",
        space: ProductSpace = "auto",
        gather: bool = False,
        detach_target: bool = False,
    ) -> None:
        super().__init__()
        check_options(estimator, space)
        self.estimator: Estimator = estimator
        self.view: View = view
        self.space: ProductSpace = space
        self.gather, self.detach_target = gather, detach_target
        self.skipped = 0
        self._degenerate: Tensor | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of features `x` towards target `y`, a scalar in float32 or wider.

        Raises:
            DataError: Features that do not fit together or are not finite.
        """
        pair = sides(x, y.detach() if self.detach_target else y, view=self.view, gather=self.gather)
        if samples_of(pair) < MIN_SAMPLES[self.estimator]:
            self.skipped += 1
            # sums of nothing keep the graph whole, so that DDP waits for no parameter, and carry no NaN over
            return pair[0][:0].sum() + pair[1][:0].sum()
        found = similarity(*pair, estimator=self.estimator, space=self.space)
        # kept on the device: reading it here would make the host wait
        self._degenerate = found.degenerate if self._degenerate is None else self._degenerate + found.degenerate
        return -found.value

    @property
    def degenerate(self) -> int:
        """Problems so far (batches, or images in view "patch-image") without variance, whose similarity was 0."""
        return 0 if self._degenerate is None else int(self._degenerate)

    def extra_repr(self) -> str:
        """Return the options, for `print(module)`."""
        return f"estimator={self.estimator}, view={self.view}, space={self.space}, gather={self.gather}"
