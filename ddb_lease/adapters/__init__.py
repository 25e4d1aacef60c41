"""Rate limits where other packages want them: middleware of web servers, and limiters of other libraries.

Each adapter is a module of its own, and imports nothing but what it adapts: `ddb_lease.adapters.asgi` and `.wsgi` need
no framework at all.
"""
