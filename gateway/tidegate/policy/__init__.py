"""Policy that people can test: cases, explanations and replays, without a running gateway."""
