"""Tables: CSV, Parquet, Arrow, Feather, ARFF and frames, of pixels, pictures or anything else."""

from xpnet.data.tables.files import check_no_table, is_table
from xpnet.data.tables.frames import table_dataset
from xpnet.data.tables.loading import load_table
from xpnet.data.tables.preparation import TablePreparation

__all__ = ["TablePreparation", "check_no_table", "is_table", "load_table", "table_dataset"]
