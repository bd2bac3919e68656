"""Many samples in parts of bounded size."""

from collections.abc import Iterator


def chunks(count: int, rows: int) -> Iterator[slice]:
    """Slices of `rows` samples that together are all `count`; the last may be shorter."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
