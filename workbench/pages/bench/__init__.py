"""How fast the app starts and draws, and what watching it costs a run."""
