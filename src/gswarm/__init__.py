"""gswarm: many fine-tuning runs at once over all GPUs of a cluster, exactly."""

__version__ = "0.1.0"
