"""``lab fetch``: download a data set into the user's data folder; main thread."""

from __future__ import annotations

import sys

from engines.data import catalog


def fetch(name: str) -> int:
    """Download with checksums and a progress bar; Ctrl+C leaves nothing broken.

    Raises
    ------
    DataError
    """
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, disable=None, file=sys.stderr) as bar:

        def show(done: int, total: int | None, label: str) -> None:
            bar.total = total
            bar.set_description_str(label, refresh=False)
            bar.update(done - bar.n)

        folder = catalog.fetch(name.replace("-", "_"), progress=show)
    print(folder)
    return 0
