"""libnexus from Python, through ctypes and the public headers alone: no compiler, no build step.

    from nexus import Bus, Key, KeySet, Schema
"""
from ._library import NexusError, version as _version
from .bus import Bus, Delivery, Group
from .gateway import Gateway, validate
from .jwt import Key, KeySet
from .saga import Saga, saga_control, saga_get, saga_list
from .schema import Schema

__version__ = _version().decode()
__all__ = ["Bus", "Delivery", "Gateway", "Group", "Key", "KeySet", "NexusError", "Saga", "Schema", "__version__",
           "saga_control", "saga_get", "saga_list", "validate"]
