"""tidegate: the gateway through which an organization's Messages API traffic leaves."""

__version__ = "0.1.0"
