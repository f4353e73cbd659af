"""What every Python that a test starts imports first, because ``tests/conftest.py`` puts this folder on PYTHONPATH."""

import offline  # noqa: F401
