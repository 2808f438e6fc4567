"""The store: runs publish immutable Parquet segments, one DuckDB file shows them to all readers.

``writer`` publishes without a lock, ``archive`` moves segments into native tables, ``reader``
answers questions about both at once, ``exchange`` moves data in and out. ``schema`` is the one list
of tables and columns.
"""
