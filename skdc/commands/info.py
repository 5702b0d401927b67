"""``skdc info``: what is installed, and what a model file holds."""

from __future__ import annotations

import argparse

from skdc.commands.options import given_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "model",
        nargs="?",
        type=given_name,
        metavar="MODEL",
        help="model file, or name of a bundled model",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    rows = _installation() if args.model is None else _model(args.model)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return 0


def _installation() -> list[tuple[str, object]]:
    import platform

    import numpy
    import sklearn
    import torch

    import skdc
    from skdc.parameters import resolve_device, resolve_precision
    from skdc.pretrained import list_pretrained

    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return [
        ("skdc", skdc.__version__),
        ("python", platform.python_version()),
        ("torch", torch.__version__),
        ("numpy", numpy.__version__),
        ("scikit-learn", sklearn.__version__),
        ("device", f"{device} ({name}), {resolve_precision('auto', device)}"),
        ("threads", torch.get_num_threads()),
        ("bundled models", ", ".join(list_pretrained()) or "none"),
    ]


def _model(name: str) -> list[tuple[str, object]]:
    from skdc.parameters import LOCAL_PARAMETERS
    from skdc.pretrained import load_pretrained

    model = load_pretrained(name, device="cpu")
    rows: list[tuple[str, object]] = [
        ("model", name),
        ("weights", sum(weights.numel() for weights in model.network_.parameters())),
        ("epochs", model.n_iter_),
    ]
    if model.history_:
        last = model.history_[-1]
        rows.append(("hours of mixtures", f"{last['hours']:.3g}"))
        rows += [
            (key.replace("_", " "), f"{value:.4g}")
            for key, value in last.items()
            if key == "loss" or key.startswith("validation_")
        ]
    parameters = model.get_params(deep=False)
    return [*rows, *((key, parameters[key]) for key in parameters if key not in LOCAL_PARAMETERS)]
