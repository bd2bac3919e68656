"""The options of a run that choose an optimizer, a schedule or a model, and what these have."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from xpnet.augment import augmentations_from
from xpnet.models import MODELS, model_options, training_options
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.options import Option, OptionError
from xpnet.schedules import SCHEDULES

_CLASSES: dict[str, Mapping[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}


def defaults_of_classes(one: Option) -> dict[str, Any]:
    """What the optimizers, the schedules or the models have as default of one of their options.

    By the word that chooses one of them; `dataclasses.MISSING` where the option must be given, and
    nothing of those that have no such one.
    """
    return {
        word: defaults[one.argument]
        for word, defaults in _defaults(one.of).items()
        if one.argument in defaults
    }


def _defaults(of: str) -> dict[str, dict[str, Any]]:
    if of == "model":
        return {name: model_options(name) for name in MODELS}
    return {
        word: {field.name: field.default for field in fields(kind)}
        for word, kind in _CLASSES[of].items()
    }


def augmentation_problem(texts: Iterable[str]) -> str:
    """What is wrong with the texts of augmentations, to be read after the option."""
    try:
        built = augmentations_from(texts)
    except ValueError as error:
        return str(error)
    return "" if built.augmentations else "must have a name, such as elastic; leave it out for none"


def models_with(argument: str) -> list[str]:
    """The models that take an option."""
    return [name for name in MODELS if argument in model_options(name)]


def defaults_of_models(one: Option) -> dict[str, Any]:
    """What models have as default of an option, by their names, where it is another than usual."""
    own = {name: training_options(name) for name in MODELS}
    return {name: options[one.name] for name, options in own.items() if one.name in options}


def default_of_model(one: Option, model: str) -> Any:
    """What a model has as default of an option."""
    return training_options(model).get(one.name, one.default)


def completed(one: Option, chosen: str, given: Any) -> Any:
    """An option of the class that is chosen: as given, or its default; of others none.

    Raises
    ------
    OptionError
        If it must be given there, or there is no such option.
    """
    defaults = defaults_of_classes(one)
    if chosen in defaults:
        if given is None and defaults[chosen] is MISSING:
            raise OptionError(one.name, f"must be given for the {one.of} {chosen}")
        return defaults[chosen] if given is None else given
    if given is not None:
        raise OptionError(one.name, means_nothing(one.of, chosen, defaults))
    return None


def means_nothing(of: str, chosen: str, having: Iterable[str]) -> str:
    """What is wrong with an option that others than the chosen one have, and how to go on."""
    return f"means nothing for the {of} {chosen}: it is for {', '.join(having)}; leave it out"
