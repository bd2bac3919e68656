"""Tables: CSV and its relatives, of pixels or of anything else."""

from xpnet.data.tables.loading import is_table, load_table

__all__ = ["is_table", "load_table"]
