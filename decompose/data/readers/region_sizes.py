"""How much data the regions of a configuration have, without decoding an image."""

from __future__ import annotations

from lorkit.decompose.config import Config
from lorkit.decompose.config.recommendation import RegionSize
from lorkit.decompose.data.readers.registry import read_entries
from lorkit.decompose.data.samples.open_files import OpenFiles


def region_sizes(config: Config) -> dict[str, RegionSize]:
    """Return the counts of every region that names `data`; patients as the data state them, else images.

    Raises:
        UsageError, DataError: As for `read_entries`.
    """
    found, files = {}, OpenFiles.of(config)
    for name, region in config.regions.items():
        if region.data is not None:
            source = read_entries(region.data, region, config.base, files)
            found[name] = RegionSize(
                images=len(source.ids),
                patients=len(set(source.groups)),
                labels=len(source.classes),
                masks=source.masks is not None,
            )
    files.drop_arrays()
    return found
