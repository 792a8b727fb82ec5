"""What pipelines and recipes share: checked options, YAML with line numbers, the registry of names."""
