from __future__ import annotations

import pytest

from onward.device import resolve_device
from onward.errors import ConfigError


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device(resolve_device("auto")) == resolve_device("auto")
    for name in ("tpu", "", "cuda:99", "CPU"):
        with pytest.raises(ConfigError, match=f"no device '{name}' on this machine"):
            resolve_device(name)
