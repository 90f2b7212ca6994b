"""What a dry run checks beside the options: device, precision, images, class names."""

from __future__ import annotations

from evpcli.domain.settings import FitRequest
from evpcli.engine.acceleration import settle_precision
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.datasets.catalog import find_dataset_spec, load_dataset
from evpcli.engine.datasets.completion import find_state
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.devices import choose_device
from evpcli.engine.fit_task import divide_dataset
from evpcli.engine.storage.paths import find_datasets
from evpcli.engine.task_texts import settle_texts


def rehearse(request: FitRequest, entry: BackboneEntry) -> Dataset | None:
    """Check what a fit would meet before it loads the model; nothing is downloaded.

    Args:
        request: of the fit.
        entry: its backbone.

    Returns:
        The dataset as it would be divided; nothing where it must be downloaded first.

    Raises:
        EvpError: whatever the fit itself would raise.
    """
    settle_precision(request.settings.precision, choose_device(request.device))
    spec = find_dataset_spec(request.dataset)
    if spec is not None and find_state(spec, find_datasets()) != "ready":
        return None
    dataset = load_dataset(
        request.dataset,
        root=find_datasets(),
        offline=True,
        bad_images=request.bad_images,
        name=request.dataset_name,
    )
    dataset = divide_dataset(dataset, request.settings)
    if entry.kind == "clip":
        settle_texts(
            dataset,
            request.class_names,
            request.templates,
            request.descriptions,
            request.best_of,
            request.template_set,
        )
    return dataset
