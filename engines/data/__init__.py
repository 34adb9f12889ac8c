"""Data sets: embedded, generated, fetched, the user's own; headless numpy, safe on any thread or process.

`engines.data.catalog` is the door: `available` lists, `load` loads, `fetch` downloads.
"""
