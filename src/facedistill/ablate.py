"""Stage `ablate`: students that differ from a distilled one by a named delta."""

from facedistill.core.errors import InputError
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.distill import Recipe, train_student


def ablate(params: Params, name: str) -> None:
    """Trains the variant `name` of `ablate.variants` into data/ablate/NAME.

    Raises:
        InputError: unknown variant.
    """
    if name not in params.ablate.variants:
        raise InputError(f"ablate.variants: no variant {name!r}; allowed: {', '.join(params.ablate.variants)}")
    variant = params.ablate.variants[name]
    losses = params.distill.losses.model_copy(update={"feature": variant.feature})
    if variant.data == "paired":  # without a teacher, so not from weights that have learnt from it either
        source = (DATA / "align", "paired")
        start = None
    else:
        source = (DATA / "label", None)
        start = params.distill.students[variant.student].start
    train_student(params, Recipe("ablate", name, variant.student, *source, losses, start))
