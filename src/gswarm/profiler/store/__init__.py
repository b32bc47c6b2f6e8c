"""The sample store: a log, Parquet segments and rollups behind the protocol of ``sample_store``."""
