"""Compare the gateway with nginx in front of the same upstream, in one run, as paired ratios."""
