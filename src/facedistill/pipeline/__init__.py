"""The stages of the pipeline, in the order of `facedistill.STAGES`."""


def module_of(stage: str) -> str:
    """The module of a stage, which has its name; variants are trained as students are."""
    return f"{__name__}.{'distill' if stage == 'ablate' else stage}"
