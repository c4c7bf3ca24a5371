"""What depthwise.torch.accelerate changes in the models of timm and transformers, and what it leaves.

    python benchmarks/census.py [--match mobilenet] [--library timm transformers]

Models are built on the meta device, and so without weights: all of timm, and of transformers all in whose source there
are groups, and one for each configuration of the others, with few layers. A row for each family with depthwise layers:
how many a model of it has at most. Models that their default configuration does not build are named below. An exit
status of 1 says that something is left. Needs timm, torchvision, einops and transformers, or those of one library.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import pkgutil
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import pictures
from depthwise import progress
from depthwise.torch import accelerate

FEW = 4  # layers, where a configuration lets itself be told
ATTENTION_ALONE = "Lfm2Config", "Lfm2MoeConfig"  # have no other layers by default
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")
Build = Callable[[], nn.Module]


def make_torchvision_importable() -> None:
    """Beside a PyTorch for CPUs it may lack its compiled operators, which it asks for while it is imported."""
    try:
        import torchvision  # noqa: F401 - whether it can be
    except ModuleNotFoundError:
        return  # transformers does without
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        make_torchvision_importable.library = library  # type: ignore[attr-defined] - which must live


def models_of_timm(match: str) -> Iterator[tuple[str, str, Build]]:
    """(family, model, how it is built)."""
    import timm
    from timm.models import _registry

    for name in timm.list_models(f"*{match}*"):
        family = _registry._model_to_module[name] if hasattr(_registry, "_model_to_module") else name
        yield family, name, lambda name=name: timm.create_model(name)


def shrink(config: Any) -> Any:
    if type(config).__name__ in ATTENTION_ALONE:
        config.layer_types = ["conv"] * config.num_hidden_layers
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict"):
            shrink(value)
        elif name in DEPTHS and isinstance(value, int) and value > FEW:
            setattr(config, name, FEW)
    return config


def of_configuration(classes: list[Any]) -> Build:
    def build() -> nn.Module:
        errors = []
        for cls in classes:
            for prepare in (shrink, lambda config: config):
                try:
                    return cls(prepare(cls.config_class()))
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}".splitlines()[0])
        raise ValueError(errors[-1])

    return build


def models_of_transformers(match: str) -> Iterator[tuple[str, str, Build]]:
    import transformers
    from transformers import models

    transformers.logging.set_verbosity_error()
    for package in pkgutil.iter_modules(models.__path__):
        if match not in package.name or package.name in ("auto", "deprecated", "timm_wrapper", "timm_backbone"):
            continue
        try:
            module = importlib.import_module(f"{models.__name__}.{package.name}.modeling_{package.name}")
        except ImportError:
            continue  # tokenizers, and models that need what is not installed
        by_configuration = defaultdict(list)
        for cls in vars(module).values():
            is_model = isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)
            is_model = is_model and not cls.__name__.endswith("PreTrainedModel")
            if is_model and cls.__module__ == module.__name__ and isinstance(cls.config_class, type):
                by_configuration[cls.config_class].append(cls)
        for classes in by_configuration.values():
            classes.sort(key=lambda cls: not cls.__name__.endswith("Model"))
            if "groups=" in inspect.getsource(module):
                yield from ((package.name, cls.__name__, of_configuration([cls])) for cls in classes)
            else:
                yield package.name, classes[0].__name__, of_configuration(classes)


def counted(classes: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in classes.most_common())


class Family:
    def __init__(self) -> None:
        self.models = 0
        self.changed: Counter[str] = Counter()
        self.functional: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def add(self, model: nn.Module) -> None:
        def names(modules: Any) -> list[str]:
            return [type(model.get_submodule(name)).__name__ for name in modules]

        changed, left = accelerate(model)
        more = [name for name in accelerate(model, functional=True).changed if name in left]
        self.models += bool(changed or left)
        self.changed |= Counter(names(changed))
        self.functional |= Counter(names(more))
        self.left |= Counter(why for name, why in left.items() if name not in more)

    def row(self, library: str, name: str) -> list[str]:
        return [library, name, str(self.models), *map(counted, (self.changed, self.functional, self.left))]

    def counts(self) -> dict[str, float]:
        kinds = {"changed": self.changed, "with functional=True": self.functional, "left": self.left}
        return {kind: layers.total() for kind, layers in kinds.items() if layers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="a part of the names of timm's models, transformers' families")
    pictures.add_option(parser, "census")
    parser.add_argument("--library", nargs="+", choices=["timm", "transformers"], default=["timm", "transformers"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    make_torchvision_importable()
    sources = {"timm": models_of_timm, "transformers": models_of_transformers}
    table = Table("library", "family", "models", "layers changed, at most", "with functional=True", "left, and why")
    failed, built, begun, is_left = [], 0, time.perf_counter(), False
    panels: dict[str, dict[str, dict[str, float]]] = {}
    for library in args.library:
        families: dict[str, Family] = defaultdict(Family)
        models = list(sources[library](args.match))
        with progress.shown(len(models)) as begin:
            for name, label, build in models:
                begin(f"{library} {label}")
                try:
                    with torch.device("meta"):
                        model = build()
                except Exception as error:
                    failed.append(f"{library} {label}: {error}".splitlines()[0])
                    continue
                built += 1
                families[name].add(model)
        for name in sorted(name for name, family in families.items() if family.models):
            table.add_row(*families[name].row(library, name))
            panels.setdefault(library, {})[name] = families[name].counts()
            is_left = is_left or bool(families[name].left)
    console = Console(width=160)
    console.print(table)
    console.print("\n".join(f"not built: {line[:150]}" for line in failed))
    console.print(f"{built} models built, {len(failed)} not, in {time.perf_counter() - begun:.0f} seconds")
    pictures.write(args.picture, "Depthwise layers of a family's models", panels, "layers, at most", logarithmic=True)
    return int(is_left)


if __name__ == "__main__":
    sys.exit(main())
