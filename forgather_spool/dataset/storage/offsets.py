"""Offsets of values, checked before anything is read by them: a damaged one leads anywhere in memory.

Nobody else does: Arrow trusts what it maps, and gathering does without checks
for its speed. Each offset is looked at once, when the index is made. Values are not:
what a flipped bit makes of one is another value of the same type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types


def check(array: Any) -> None:
    """Raises pa.ArrowInvalid: a value of `array`, or one within, begins or ends where it cannot.

    `array` without an offset of its own, as it comes from a file.
    """
    type_ = array.type
    array.validate()  # so far: lengths, sizes, and the last offset
    if isinstance(array, pa.ExtensionArray):
        check(array.storage)
    elif types.is_string(type_) or types.is_large_string(type_):
        array.view(pa.binary() if types.is_string(type_) else pa.large_binary()).validate(full=True)
    elif types.is_binary(type_) or types.is_large_binary(type_) or _is_view(type_) or _is_list_of_numbers(type_):
        array.validate(full=True)
    elif _is_list(type_) or types.is_map(type_):
        _check_rising(array.offsets)
        check(array.values)
    elif types.is_fixed_size_list(type_):
        check(array.values)
    elif types.is_struct(type_):
        for place in range(type_.num_fields):
            check(array.field(place))
    elif types.is_dictionary(type_):
        check(array.dictionary)


def _is_list(type_: Any) -> bool:
    return bool(types.is_list(type_) or types.is_large_list(type_))


def _is_list_of_numbers(type_: Any) -> bool:
    """Tokens, mostly. What Arrow checks of these in full is the offsets, quickly."""
    return _is_list(type_) and bool(types.is_integer(type_.value_type) or types.is_floating(type_.value_type))


def _is_view(type_: Any) -> bool:
    views = types.is_string_view, types.is_binary_view, types.is_list_view, types.is_large_list_view
    return any(is_one(type_) for is_one in views)


def _check_rising(offsets: Any) -> None:
    found = offsets.to_numpy()
    if found[:1].min(initial=0) < 0 or (np.diff(found) < 0).any():
        raise pa.ArrowInvalid("offsets of a list do not rise")
