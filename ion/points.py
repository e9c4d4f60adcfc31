"""Points of time series as column blocks: few bytes each, and a digest over what was meant, not how it is packed.

A column holds ``n`` points, int64 times (µs UTC) and float64 values. It is packed as
``flags, n, time header, times, value header, values``, little-endian, and compressed with zstd where that is smaller:
times as second differences, values as differences of decimals where those give every bit back, else as the
bytes of the floats, transposed. Integers take the smallest width that holds all of them.

A block is the columns of one leaf, one after the other; see docs/spec/points.md.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, cast

import numpy as np

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import zstandard
    from numpy.typing import NDArray

_PACKED = 1
_HEAD = struct.Struct("<BI")
_LENGTH = struct.Struct("<I")
_TIMES = struct.Struct("<Bqq")
_FLOATS, _DECIMALS = 0, 1
_DECIMAL = struct.Struct("<BBBq")
_MOST_PLACES = 6
_EXACT = 2**53
_WIDTHS = (0, 1, 2, 4, 8)
_MOST_POINTS = 1 << 24
"""Points in one block, and so in one column: 256 MiB unpacked. An agent tells a sixteenth of that at a time."""
_WORTH_PACKING = 64  # bytes; below, zstd's own header eats what it saves


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Equally long columns: ``times`` (int64, µs UTC) and ``values`` (float64)."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Points:
        """Return the points of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        nothing = cls(np.empty(0, np.int64), np.empty(0))
        return cls(
            np.concatenate([nothing.times, *(part.times for part in parts)]),
            np.concatenate([nothing.values, *(part.values for part in parts)]),
        )

    def digest(self) -> bytes:
        """SHA-256 of the times' bytes, then the values' bytes, little-endian."""
        hashed = hashlib.sha256(np.ascontiguousarray(self.times, "<i8").tobytes())
        hashed.update(np.ascontiguousarray(self.values, "<f8").tobytes())
        return hashed.digest()


def leaf_digest(columns: Iterable[bytes]) -> str:
    """Return the digest that a fact names: of its columns' digests, in order."""
    return "sha256:" + hashlib.sha256(b"".join(columns)).hexdigest()


def write_column(points: Points) -> bytes:
    """Pack points; `read_column` gives every bit of them back."""
    count = len(points)
    body = b"".join((*_write_times(points.times), *_write_values(points.values)))
    flags = 0
    if len(body) > _WORTH_PACKING:
        packed = _zstd()[0].compress(body)
        if len(packed) < len(body):
            flags, body = _PACKED, packed
    return _HEAD.pack(flags, count) + body


def read_column(body: bytes) -> Points:
    """Unpack points.

    Raises:
        IonError: ``bad-points`` when these are not the bytes of a column.
    """
    try:
        flags, count = _HEAD.unpack_from(body)
        if flags not in {0, _PACKED} or count > _MOST_POINTS:
            raise _bad("its header is not one")
        inner = memoryview(body)[_HEAD.size :]
        if flags:
            inner = memoryview(_unpacked(inner, _TIMES.size + _DECIMAL.size + 16 * count))
        times, at = _read_times(inner, count)
        values, at = _read_values(inner, at, count)
    except (struct.error, ValueError, OverflowError, _zstd_error()) as error:
        raise _bad(str(error)) from error
    if at != len(inner):
        raise _bad("bytes are left over")
    return Points(times, values)


def write_block(columns: Sequence[bytes]) -> bytes:
    """Return the block of a leaf: each column with its length before it."""
    return b"".join(part for column in columns for part in (_LENGTH.pack(len(column)), column))


def read_block(block: bytes) -> list[bytes]:
    """Return the columns of a block, still packed.

    Raises:
        IonError: ``bad-points`` when a length does not fit, or the columns claim too many points together.
    """
    columns, at, claimed = [], 0, 0
    while at < len(block):
        if at + _LENGTH.size > len(block):
            raise _bad("a length is cut short")
        (length,) = _LENGTH.unpack_from(block, at)
        at += _LENGTH.size
        if at + length > len(block):
            raise _bad("a column is cut short")
        columns.append(block[at : at + length])
        at += length
        claimed += _HEAD.unpack_from(columns[-1])[1] if length >= _HEAD.size else 0
        if claimed > _MOST_POINTS:
            raise _bad("it claims more points than a block may hold")
    return columns


def _write_times(times: NDArray[np.int64]) -> tuple[bytes, ...]:
    count = len(times)
    if not count:
        return ()
    first = int(times[0])
    if count == 1:
        return (_TIMES.pack(0, first, 0),)
    # Differences wrap around in 64 bits, and so do the sums that undo them.
    steps = np.diff(times)
    step = int(steps[0])
    width, data = _write_integers(np.diff(steps))
    return _TIMES.pack(width, first, step), data


def _read_times(data: memoryview, count: int) -> tuple[NDArray[np.int64], int]:
    if not count:
        return np.empty(0, np.int64), 0
    width, first, step = _TIMES.unpack_from(data)
    times = np.empty(count, np.int64)
    times[0] = first
    at = _TIMES.size
    if count > 1:
        steps = np.empty(count - 1, np.int64)
        steps[0] = step
        steps[1:], at = _read_integers(data, at, width, count - 2)
        np.cumsum(steps, out=steps)
        times[1:] = steps
        np.cumsum(times, out=times)
    return times, at


def _write_values(values: NDArray[np.float64]) -> tuple[bytes, ...]:
    if not len(values):
        return ()
    for places in (0, 2, 4, _MOST_PLACES):
        scale = float(10**places)
        with np.errstate(all="ignore"):  # what overflows or is no number is not a decimal
            scaled = np.rint(values * scale)
            if not np.abs(scaled).max() < _EXACT:
                continue
            whole = scaled.astype(np.int64)
            if _same(whole / scale, values):
                width, data = _write_integers(np.diff(whole))
                return _DECIMAL.pack(_DECIMALS, places, width, int(whole[0])), data
    planes = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8).T
    return _DECIMAL.pack(_FLOATS, 0, 0, 0), np.ascontiguousarray(planes).tobytes()


def _read_values(data: memoryview, at: int, count: int) -> tuple[NDArray[np.float64], int]:
    if not count:
        return np.empty(0, np.float64), at
    kind, places, width, first = _DECIMAL.unpack_from(data, at)
    at += _DECIMAL.size
    if kind == _DECIMALS and places <= _MOST_PLACES:
        whole = np.empty(count, np.int64)
        whole[0] = first
        whole[1:], at = _read_integers(data, at, width, count - 1)
        return np.cumsum(whole, out=whole) / float(10**places), at
    if kind != _FLOATS:
        raise _bad("its values are packed in no known way")
    planes = np.frombuffer(data[at : at + 8 * count], np.uint8).reshape(8, -1)
    values = np.ascontiguousarray(planes.T).view("<f8").reshape(-1)
    if len(values) != count:
        raise _bad("its values are cut short")
    return values, at + 8 * count


def _write_integers(numbers: NDArray[np.int64]) -> tuple[int, bytes]:
    """Return the width and the bytes, transposed: the high bytes, all alike, lie together."""
    if not numbers.size:
        return 0, b""
    low, high = int(numbers.min()), int(numbers.max())
    # In two's complement -128 needs as many bits as 127.
    bits = 1 + max((low ^ low >> 63).bit_length(), (high ^ high >> 63).bit_length()) if low or high else 0
    width = next(width for width in _WIDTHS if bits <= 8 * width)
    if not width:
        return 0, b""
    data = numbers.astype(f"<i{width}")
    if width == 1:
        return width, data.tobytes()
    return width, np.ascontiguousarray(data.view(np.uint8).reshape(-1, width).T).tobytes()


def _read_integers(data: memoryview, at: int, width: int, count: int) -> tuple[NDArray[np.int64], int]:
    if not width or count <= 0:
        return np.zeros(max(count, 0), np.int64), at
    if width not in _WIDTHS:
        raise _bad("its integers have no known width")
    end = at + width * count
    planes = np.frombuffer(data[at:end], np.uint8).reshape(width, -1)
    if planes.shape[1] != count:
        raise _bad("its integers are cut short")
    return np.ascontiguousarray(planes.T).view(f"<i{width}").reshape(-1).astype(np.int64), end


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether every bit is the same: -0.0 is not 0.0."""
    return bool((one.view(np.int64) == other.view(np.int64)).all())


def _bad(why: str) -> IonError:
    return IonError(
        "bad-points", f"not a column of points: {why}"[:300], "the bytes were damaged or are not statistics"
    )


_thread = local()
"""zstd's contexts: dear to make, and not to be shared between threads."""


def _zstd() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    if not hasattr(_thread, "zstd"):
        import zstandard

        _thread.zstd = (zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor())
    return cast("tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]", _thread.zstd)


def _unpacked(data: memoryview, most: int) -> bytes:
    """Return what a single zstd frame of at most ``most`` bytes holds: a small block cannot ask for much memory."""
    import zstandard

    if not 0 < zstandard.get_frame_parameters(data).content_size <= most:
        raise _bad("it claims to be larger than its points")
    unpacking = _zstd()[1].decompressobj()
    unpacked = unpacking.decompress(data)
    if not unpacking.eof or unpacking.unused_data:
        raise _bad("it is not one packed frame")
    return unpacked


def _zstd_error() -> type[Exception]:
    import zstandard

    return cast("type[Exception]", zstandard.ZstdError)
