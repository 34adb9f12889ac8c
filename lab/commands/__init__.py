"""The commands of the command line, one module each; imported when called, so that ``lab papers`` is quick."""
