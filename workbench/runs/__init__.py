"""The life of a run: its directory, its process, how it is started, watched and stopped."""
