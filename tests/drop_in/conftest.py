"""The scripts are run by the test, not collected for doctests."""

collect_ignore = ["scripts"]
