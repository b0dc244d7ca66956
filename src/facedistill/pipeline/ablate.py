"""Stage `ablate`: students that differ from a baseline by a named delta of params.yaml."""

import sys

from facedistill.core.errors import InputError
from facedistill.core.params import Params, with_overrides
from facedistill.core.paths import DATA
from facedistill.models.training import remove_checkpoints
from facedistill.pipeline.distill import train_student, training_data


def ablate(params: Params, name: str) -> None:
    """Trains the variant `name` of `ablate.variants` into data/ablate/NAME/seed-N, once for each seed."""
    if name not in params.ablate.variants:
        raise InputError(f"ablate.variants: no variant {name!r}; expected {', '.join(params.ablate.variants)}")
    change, states = params.ablate.variants[name].set, []
    if change and with_overrides(params, change) == params:
        print(f"ablate.variants.{name}: the baseline once more: its values are those of params.yaml", file=sys.stderr)
    for seed in params.ablate.seeds:
        varied, out = with_overrides(params, change | {"seed": seed}), DATA / "ablate" / name / f"seed-{seed}"
        states.append(train_student(varied, varied.ablate.student, out, *training_data(varied)))
    remove_checkpoints(*states)  # now that all are there: a run that is killed goes on where it stood
