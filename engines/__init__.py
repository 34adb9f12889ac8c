"""The ten methods, their data, and their pictures as arrays; runs headless in workers and imports no Qt."""
