"""What a dry run checks beside the options: device, precision, images, class names."""

from __future__ import annotations

from evpcli.domain.settings import FitRequest
from evpcli.engine.compute.devices import choose_device
from evpcli.engine.datasets.catalog import find_dataset_spec
from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.public.completion import find_state
from evpcli.engine.files.paths import find_datasets
from evpcli.engine.fitting.inputs import divide_and_name, load_whole
from evpcli.engine.training.precision import settle_precision


def rehearse(request: FitRequest) -> Dataset | None:
    """Check what a fit would meet before it loads the model; nothing is downloaded.

    Returns:
        The dataset as it would be divided; nothing where it must be downloaded first.

    Raises:
        EvpError: whatever the fit itself would raise.
    """
    settle_precision(request.settings.precision, choose_device(request.device))
    spec = find_dataset_spec(request.dataset)
    if spec is not None and find_state(spec, find_datasets()) != "ready":
        return None
    return divide_and_name(load_whole(request, offline=True), request)[0]
