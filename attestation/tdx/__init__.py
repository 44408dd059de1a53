"""Intel TDX: what a quote says, and whether Intel's hardware and collateral stand behind it."""
