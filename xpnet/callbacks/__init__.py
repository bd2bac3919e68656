"""What may happen beside a training: bars, logs, files, an early end."""

from xpnet.callbacks.base import Callback as Callback
from xpnet.callbacks.checkpoint import Checkpoint as Checkpoint
from xpnet.callbacks.early_stopping import EarlyStopping as EarlyStopping
from xpnet.callbacks.loggers import CSVLogger as CSVLogger
from xpnet.callbacks.loggers import JSONLogger as JSONLogger
from xpnet.callbacks.loggers import TensorBoard as TensorBoard
from xpnet.callbacks.progress import ProgressBar as ProgressBar
from xpnet.callbacks.snapshots import SnapshotEnsemble as SnapshotEnsemble
