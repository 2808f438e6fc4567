"""Every figure: a DataFrame in, a plotly Figure out; light, no torch."""
