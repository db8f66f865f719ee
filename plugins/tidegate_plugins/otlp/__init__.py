"""What the plugins that send OTLP share: where it goes, how it gets there, what it is called."""
