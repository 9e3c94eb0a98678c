"""Two vector operations on bytes that a compiler does not find in plain loops.

They are written in LLVM's portable vectors, so that one text serves AVX2, AVX-512 and NEON, and
are called from numba functions with raw addresses: no bounds are checked here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from imagenets.core.jit import intrinsic, types

PRECISION = 22
"""Bits behind the point of a weight: 32 less 8 of a pixel and 2 of overshoot, as in Pillow."""

_BYTE, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _vector(builder: Any, address: Any, offset: Any, lanes: int) -> Any:
    kind = ir.VectorType(_BYTE, lanes).as_pointer()
    return builder.inttoptr(builder.add(address, offset), kind)


def _load(builder: Any, pointer: Any) -> Any:
    loaded = builder.load(pointer)
    loaded.align = 1
    return loaded


def _constant(lanes: int, value: int) -> Any:
    return ir.Constant(ir.VectorType(_INT, lanes), [value] * lanes)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    empty = ir.Constant(ir.VectorType(_INT, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, first, _constant(lanes, 0))


def _weigh(builder: Any, lanes: int, arguments: Any) -> None:
    target, source, stride, weights, taps = arguments
    wide = ir.VectorType(_INT, lanes)
    before = builder.block
    loop = builder.append_basic_block("taps")
    after = builder.append_basic_block("store")
    builder.branch(loop)
    builder.position_at_end(loop)
    tap, total = builder.phi(_LONG), builder.phi(wide)
    tap.add_incoming(ir.Constant(_LONG, 0), before)
    total.add_incoming(_constant(lanes, 1 << (PRECISION - 1)), before)  # rounds to nearest
    pixels = _load(builder, _vector(builder, source, builder.mul(tap, stride), lanes))
    place = builder.add(weights, builder.mul(tap, ir.Constant(_LONG, 4)))
    weight = builder.load(builder.inttoptr(place, _INT.as_pointer()))
    product = builder.mul(builder.zext(pixels, wide), _splat(builder, weight, lanes))
    summed = builder.add(total, product)
    following = builder.add(tap, ir.Constant(_LONG, 1))
    tap.add_incoming(following, loop)
    total.add_incoming(summed, loop)
    builder.cbranch(builder.icmp_signed("<", following, taps), loop, after)
    builder.position_at_end(after)
    value = builder.ashr(summed, _constant(lanes, PRECISION))
    for bound, wrong in ((0, "<"), (255, ">")):
        limit = _constant(lanes, bound)
        value = builder.select(builder.icmp_signed(wrong, value, limit), limit, value)
    narrow = builder.trunc(value, ir.VectorType(_BYTE, lanes))
    builder.store(narrow, _vector(builder, target, ir.Constant(_LONG, 0), lanes)).align = 1


def _weighted_sum(lanes: int) -> Any:
    @intrinsic
    def weighted_sum(
        context: Any, target: Any, source: Any, stride: Any, weights: Any, taps: Any
    ) -> Any:
        """Writes the weighted sum of `taps` rows of bytes, `stride` apart, as bytes."""
        signature = types.void(types.int64, types.int64, types.int64, types.int64, types.int64)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _weigh(builder, lanes, arguments)
            return context.get_dummy_value()

        return signature, generate

    return weighted_sum


weigh_16 = _weighted_sum(16)
weigh_32 = _weighted_sum(32)


@intrinsic
def _transpose(
    context: Any, target: Any, target_stride: Any, source: Any, source_stride: Any
) -> Any:
    """Transposes a block of 16 x 16 bytes; the strides are those of its rows."""
    signature = types.void(types.int64, types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, target_stride, source, source_stride = arguments

        def row(base: Any, stride: Any, index: int) -> Any:
            return _vector(builder, base, builder.mul(stride, ir.Constant(_LONG, index)), 16)

        def zip_mask(first: int) -> Any:
            pairs = [place for j in range(first, first + 8) for place in (j, 16 + j)]
            return ir.Constant(ir.VectorType(_INT, 16), pairs)

        rows = [_load(builder, row(source, source_stride, index)) for index in range(16)]
        for _ in range(4):  # zipping row j with row j + 8 four times is a transposition
            rows = [
                builder.shuffle_vector(rows[j], rows[j + 8], mask)
                for j in range(8)
                for mask in (zip_mask(0), zip_mask(8))
            ]
        for index, values in enumerate(rows):
            builder.store(values, row(target, target_stride, index)).align = 1
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """An address as a pointer, for `numba.carray`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


pointer: Any = _pointer
transpose_16: Any = _transpose  # their signatures are those of the calls inside numba's functions
