"""The web face: chat page and REST, over one `Advisor`. It finds nothing and decides nothing; it only carries."""

from advisor.serve.app import create_app, serve

__all__ = ["create_app", "serve"]
