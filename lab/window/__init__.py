"""The window: assembled from `widgets` and `lab.panels`; everything here runs on the GUI thread."""
