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
    paired = variant.data == "paired"
    corpus, split = (DATA / "prepare", "paired") if paired else (DATA / "label", None)
    train_student(params, Recipe("ablate", name, variant.student, corpus, split, losses))
