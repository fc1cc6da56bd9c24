"""Recipes and run directories: from a YAML file to a trained, judged, loadable model."""
