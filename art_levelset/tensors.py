"""
Reading what `torch.save` has written, by anybody: no code of a file is run, and nothing is taken for what it claims.

PyTorch's own reader of weights runs no code, but it believes what a file says of sizes, it follows containers in
containers however many there are, and it compares no checksums. So all of that is looked at before.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from numbers import Real
from typing import Any, BinaryIO

import torch

from art_levelset.untrusted import check_claim, check_members, in_digits, size_of

PICKLE_MOST = 1 << 26
"""The most bytes of a pickle: 64 MiB. It holds names, sizes and small numbers; tensors lie beside it."""

DEEPEST = 100
"""Containers in containers."""

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""With this begin files that PyTorch has written before version 1.6."""

_OPCODES = frozenset(
    {"PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1"}
    | {"BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND"}
    | {"APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"}
    | {"GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"}
)
"""What `torch.load` knows of the language of pickles when it reads weights only."""


_LIKE_PARAMETERS = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"}
"""What Adam and SGD keep for each parameter, of its shape."""

_STORAGES = {
    "ByteStorage": 1,
    "CharStorage": 1,
    "BoolStorage": 1,
    "ShortStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "FloatStorage": 4,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "UntypedStorage": 1,
}
"""The bytes of a number in each of PyTorch's storages."""


def load_tensors(file: BinaryIO) -> Any:
    """
    Read what `torch.save` has written: tensors, numbers, texts, and dictionaries, lists and tuples of them.

    That is what PyTorch's reader of weights reads. Before, everything is looked at that could cost memory or time:
    sizes that are claimed, compressed members, containers in containers; and the checksums, which it does not compare.

    :param file: The file, open and seekable.
    :return: What it holds, the tensors on the CPU.
    :raises ValueError: If it is no such file, is damaged, holds anything else, or claims what it does not have.
    """
    size = size_of(file)
    file.seek(0)
    start = file.read(len(_LEGACY))
    try:
        if start.startswith(b"PK\3\4"):
            _check_archive(file, size)
        elif start == _LEGACY:
            _check_legacy(file, size)
        else:
            raise ValueError("it is no file of PyTorch")
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other protocols and of TorchScript
            return torch.load(file, map_location="cpu", weights_only=True)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # damaged files raise anything
        raise ValueError(f"it is damaged or holds more than tensors ({type(error).__name__})") from error


def has_format(contents: Any, name: str | int) -> bool:
    """
    Whether what a file holds is a dictionary that names its format.

    :param contents: What it holds.
    :param name: The format.
    :return: Whether it does; where there is a tensor in place of the name, it does not.
    """
    found = contents.get("format") if isinstance(contents, dict) else None
    return type(found) is type(name) and found == name


def check_form(name: str, saved: Any, own: Any) -> None:
    """
    Check that what a checkpoint holds has the form of what it shall replace.

    >>> check_form("state", {"rate": 0.1, "phases": [1, 2]}, {"rate": 1, "phases": [3, 4]})
    >>> check_form("state", {"rate": "0.1"}, {"rate": 0.1})
    Traceback (most recent call last):
    ValueError: state['rate'] is not of the form that it had: '0.1'

    :param name: What it is.
    :param saved: What the checkpoint holds.
    :param own: The state of the same kind that there is now. None says nothing of the form.
    :raises ValueError: If a tensor has another shape or type, a dictionary other keys, a list another length, or
            something else is of another kind; numbers are one kind.
    """
    if own is None:
        return
    if isinstance(own, torch.Tensor):
        fits = isinstance(saved, torch.Tensor) and (saved.shape, saved.dtype) == (own.shape, own.dtype)
    elif isinstance(own, Mapping):
        fits = isinstance(saved, Mapping) and {*saved} == {*own}
    elif isinstance(own, (list, tuple)):
        fits = isinstance(saved, (list, tuple)) and len(saved) == len(own)
    elif isinstance(own, Real) and not isinstance(own, bool):
        fits = isinstance(saved, Real) and not isinstance(saved, bool)
    else:
        fits = isinstance(saved, type(own))
    if not fits:
        raise ValueError(f"{name} is not of the form that it had: {saved!r:.80}")
    if isinstance(own, Mapping):
        for key, value in own.items():
            check_form(f"{name}[{key!r}]", saved[key], value)
    elif isinstance(own, (list, tuple)):
        for place, (one, other) in enumerate(zip(saved, own, strict=True)):
            check_form(f"{name}[{place}]", one, other)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """
    Let an optimizer go on from the state in a file, of which PyTorch itself checks nothing but the number of tensors.

    :param optimizer: The optimizer, changed in place.
    :param state: Its state, as it is in the file.
    :raises ValueError: If it is that of another one.
    """
    own = [{name: _kind(value) for name, value in group.items()} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
        loaded = [{name: _kind(value) for name, value in group.items()} for group in optimizer.param_groups]
    except Exception as error:  # a file may say anything
        raise ValueError(f"optimizer: its state is damaged ({type(error).__name__})") from error
    same = all(
        isinstance(value, torch.Tensor) and value.shape == parameter.shape
        for parameter, kept in optimizer.state.items()
        for name, value in kept.items()
        if name in _LIKE_PARAMETERS and value is not None
    )
    if own != loaded or not same:
        raise ValueError("optimizer: its state is that of another one")


def _kind(value: Any) -> Any:
    """What a setting is: a number, which must be finite, a truth value, several of them, or something else."""
    if isinstance(value, (list, tuple)):
        return [_kind(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number" if math.isfinite(value) else "infinite"
    return type(value).__name__


def _check_archive(file: BinaryIO, size: int) -> None:
    """A file of PyTorch 1.6 and later: an archive of a pickle and the tensors' bytes."""
    with zipfile.ZipFile(file) as archive:
        check_members(archive, size, (zipfile.ZIP_STORED,))
        if archive.testzip() is not None:
            raise ValueError("it is damaged: a checksum is another")
        members = {info.filename: info for info in archive.infolist()}
        top = {name.partition("/")[0] for name in members}
        pickled = members.get(f"{min(top, default='')}/data.pkl")
        if len(top) != 1 or pickled is None:
            raise ValueError("it is an archive, but not one of tensors")
        if pickled.file_size > PICKLE_MOST:
            raise ValueError(f"its pickle is larger than {PICKLE_MOST:,} bytes")
        prefix = pickled.filename.removesuffix("data.pkl") + "data/"
        sizes = {name.removeprefix(prefix): info.file_size for name, info in members.items() if name.startswith(prefix)}
        _Checked(BytesIO(archive.read(pickled)), lambda key, needed: needed <= sizes.get(key, -1), size).check()


def _check_legacy(file: BinaryIO, size: int) -> None:
    """A file of earlier versions: several pickles, and behind them the tensors' bytes."""
    file.seek(0)
    pickles = BytesIO(file.read(PICKLE_MOST))
    needs: dict[str, int] = {}

    def there(key: str, needed: int) -> bool:
        needs[key] = max(needed, needs.get(key, 0))
        return sum(needs.values()) <= size

    for _ in range(5):  # a sign, a version, the system, the content, and the names of the tensors
        _Checked(pickles, there, size).check()


class _Checked(pickle.Unpickler):
    """Reads a pickle with nothing in the places of tensors, to see what it is, from where the file is to its end."""

    def __init__(self, file: BytesIO, there: Callable[[str, int], bool], size: int) -> None:
        self._start, self._count = file.tell(), _check_opcodes(file)
        super().__init__(BytesIO(file.getvalue()[self._start : file.tell()]))
        self._there, self._size, self._taken = there, size, 0

    def check(self) -> None:
        """
        Read it.

        :raises ValueError: If it is not what PyTorch writes for tensors and plain containers.
        """
        _check_tree(super().load(), 10 * self._count + 1000)

    def find_class(self, module: str, name: str) -> Any:
        """
        What stands for a function or class: always a new thing, which nothing in the pickle can change for others.

        :param module: Its module.
        :param name: Its name.
        :return: Something to call, or a type.
        :raises ValueError: If it is nothing that tensors and containers need.
        """
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return _Constant()
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageKind(_STORAGES[name])
        known: dict[tuple[str, str], Callable[[], Any]] = {
            ("collections", "OrderedDict"): lambda: type("OrderedDict", (OrderedDict,), {}),
            ("collections", "Counter"): lambda: type("Counter", (Counter,), {}),
            ("torch", "Size"): lambda: type("Size", (tuple,), {}),
            ("torch", "device"): lambda: _Function(lambda *_: None),
            ("_codecs", "encode"): lambda: _Function(_encoded),
            ("torch._utils", "_rebuild_tensor"): lambda: _Function(self._tensor),
            ("torch._utils", "_rebuild_tensor_v2"): lambda: _Function(self._tensor),
            ("torch._utils", "_rebuild_parameter"): lambda: _Function(_parameter),
        }
        if (module, name) not in known:
            raise ValueError(f"it holds {f'{module}.{name}'!a:.80}, which is not read: that could run code")
        return known[module, name]()

    def persistent_load(self, pid: Any) -> Any:
        """
        A tensor's bytes.

        :param pid: "storage", their type, their name, a device, and how many numbers there are.
        :return: How many there are.
        :raises ValueError: If they are not there.
        """
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or not isinstance(pid[1], _StorageKind):
            raise ValueError("a tensor's numbers are not where they must be")
        _, kind, key, _, count, *view = pid
        if view not in ([], [None]) or not isinstance(key, str) or not _is_size(count):
            raise ValueError("a tensor's numbers are not where they must be")
        if not self._there(key, count * kind.itemsize):
            raise ValueError(f"a tensor claims {in_digits(count * kind.itemsize)} bytes, of which there are fewer")
        return _Storage(count, kind.itemsize)

    def _tensor(self, storage: Any, offset: Any, sizes: Any, strides: Any, *_: Any) -> _Tensor:
        """A tensor that lies in its storage, and does not take much more memory than that when it is copied."""
        if not isinstance(storage, _Storage) or not isinstance(sizes, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor has no numbers")
        if len(sizes) != len(strides) or len(sizes) > 64 or not all(map(_is_size, (offset, *sizes, *strides))):
            raise ValueError("a tensor has an impossible shape")
        last = offset + sum((side - 1) * stride for side, stride in zip(sizes, strides, strict=True))
        if all(sizes) and last >= storage.count:
            raise ValueError("a tensor reaches beyond its numbers")
        self._taken += math.prod(sizes) * storage.itemsize
        check_claim(self._taken, self._size)
        return _Tensor()


class _Constant:
    """Stands for a type of numbers."""


class _Tensor:
    """Stands for a tensor."""


class _StorageKind:
    """Stands for a type of storage."""

    def __init__(self, itemsize: int) -> None:
        self.itemsize = itemsize


class _Storage:
    """Stands for a tensor's bytes."""

    def __init__(self, count: int, itemsize: int) -> None:
        self.count, self.itemsize = count, itemsize


class _Function:
    """Stands for a function: a thing of its own, so that nothing can be done to the function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _encoded(text: Any, encoding: Any = None) -> bytes:
    """Bytes, which older pickles hold as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it holds bytes in an unknown encoding")
    return text.encode(encoding)


def _parameter(data: Any, *_: Any) -> Any:
    if not isinstance(data, _Tensor):
        raise ValueError("a parameter is no tensor")
    return data


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _check_opcodes(file: BytesIO) -> int:
    """
    Pass a pickle, and look at its words one by one: only those that weights need, no tuple of very many levels, which
    cannot be hashed, no length or place in memory beyond the pickle itself. The number of its words.
    """
    count, depths, memo, marks = 0, list[int](), dict[int, int](), list[int]()
    length = len(file.getbuffer())
    try:
        for opcode, argument, _ in pickletools.genops(file):
            count += 1
            place: int = argument if isinstance(argument, int) else -1
            if opcode.name not in _OPCODES:
                raise ValueError(f"its pickle has the word {opcode.name}, which weights do not need")
            if opcode.name == "MARK":
                marks.append(len(depths))
                continue
            before = opcode.stack_before
            taken = depths[marks.pop() :] if pickletools.stackslice in before else []
            del depths[len(depths) - len(taken) :]
            plain = sum(kind not in (pickletools.markobject, pickletools.stackslice) for kind in before)
            if plain:
                taken = depths[-plain:] + taken
                del depths[-plain:]
            depth = max(taken, default=0) if opcode.name in ("REDUCE", "NEWOBJ", "BUILD") else 0
            if "TUPLE" in opcode.name:
                depth = 1 + max(taken, default=0)
            if depth > DEEPEST:
                raise ValueError("it is nested too deeply")
            if opcode.name in ("BINGET", "LONG_BINGET"):
                depth = memo[place]
            if opcode.name in ("BINPUT", "LONG_BINPUT"):
                if place > length:
                    raise ValueError("its pickle claims more than it has")
                memo[place] = depths[-1]
            depths += [depth] * len(opcode.stack_after)
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("its pickle is damaged") from error
    return count


def _check_tree(content: Any, most: int) -> None:
    """Not too deep, and nothing that is so often in so many other things that to look at all would take for ever."""
    waiting = [(content, 0)]
    for count, (value, depth) in enumerate(_popped(waiting)):
        if depth > DEEPEST or count > most:
            raise ValueError("it is nested too deeply, or in itself")
        if isinstance(value, Mapping):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, (list, tuple, set)):
            waiting += [(item, depth + 1) for item in value]


def _popped(waiting: list[Any]) -> Iterator[Any]:
    while waiting:
        yield waiting.pop()
