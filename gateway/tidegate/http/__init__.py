"""The data plane: the only package that knows aiohttp."""
