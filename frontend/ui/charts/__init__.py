"""Charts in Altair: small, binned before they are drawn, the same colours everywhere."""
