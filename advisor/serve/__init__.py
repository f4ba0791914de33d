"""The web face: chat page and REST, over one `Advisor`. It finds nothing and decides nothing; it only carries."""

from advisor.serve.app import LOOPBACK, create_app, serve

__all__ = ["LOOPBACK", "create_app", "serve"]
