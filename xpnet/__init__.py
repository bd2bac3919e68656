"""xpnet: train neural networks wherever your arrays live.

The first page:

>>> import xpnet
>>> from xpnet import Dense, ReLU, Sequential
>>> data = xpnet.load_dataset("digits")
>>> model = Sequential(fc1=Dense(64, 128), act1=ReLU(), fc2=Dense(128, 10))
>>> network = xpnet.fit(model, data, epochs=3, backend="numpy", seed=0)
>>> network.predict(data.test.images).shape
(359,)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def _public_names() -> dict[str, str]:
    """The modules that the public names come from, as `__init__.pyi` says it, line by line."""
    loader: Any = __spec__.loader
    stub = loader.get_data(__path__[0] + "/__init__.pyi").decode()
    lines = [line.split() for line in stub.splitlines()]
    return {words[3]: words[1] for words in lines if words[:1] == ["from"]}


_HOMES = _public_names()

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: so `import xpnet` takes less time than NumPy's."""
    home = _HOMES.get(name, __name__)
    if home != __name__:
        value = getattr(import_module(home), name)
        globals()[name] = value  # from now on it is found without this function
        return value
    if name.isidentifier() and not name.startswith("_"):
        try:
            return import_module(f"xpnet.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"xpnet.{name}":
                raise
    raise AttributeError(f"module 'xpnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
