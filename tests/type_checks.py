"""Shapes and types of every call, checked quickly.

jaxtyping's import hook decorates each function of a module as it loads with ``jaxtyping.jaxtyped``, which binds the
arguments anew at every call and checks them twice, for the sake of its messages: more than half of a test's time. What
`install` puts in its place checks the same annotations with the same checker, once: arguments in order, then the
result, the names of axes being of that one call. Functions that this does not fit (generators) keep jaxtyping's own.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

_slow = jaxtyping.jaxtyped
#: in which the names of axes mean the same; entered anew by every call
SCOPE = _slow("context")


#: what is refused is a TypeError, as Python's own refusals are
CHECK = beartype(conf=BeartypeConf(violation_type=TypeError))


def install(modules: Sequence[str]) -> None:
    """Check all of these modules; before any of them is imported."""
    jaxtyping.jaxtyped = lambda *, typechecker: checked  # which has its own
    jaxtyping.install_import_hook(modules, "beartype.beartype")


def checked(of: Any, typechecker: Callable = CHECK) -> Any:
    """A function, a method of any kind, or a data class (its making), checked."""
    if inspect.isclass(of):
        if dataclasses.is_dataclass(of) and not getattr(of, "__no_type_check__", False):
            of.__init__ = checked(of.__init__, typechecker)
        return of
    if isinstance(of, classmethod | staticmethod):
        return type(of)(checked(of.__func__, typechecker))
    if isinstance(of, property):
        return property(*(f and checked(f, typechecker) for f in (of.fget, of.fset, of.fdel)))
    if not inspect.isfunction(of) or inspect.isgeneratorfunction(of) or inspect.iscoroutinefunction(of):
        return _slow(of, typechecker=typechecker)
    return _function(of, typechecker)


def _function(function: Callable, typechecker: Callable) -> Callable:
    known = function.__annotations__
    function.__annotations__ = {name: _evaluated(kind, function.__globals__) for name, kind in known.items()}
    arrays = any(map(_has_array, function.__annotations__.values()))
    inner = typechecker(function)
    if not arrays:
        return inner

    @functools.wraps(function)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        with SCOPE:
            return inner(*args, **kwargs)

    return scoped


def _evaluated(kind: Any, names: dict[str, Any]) -> Any:
    """An annotation without texts in it; one that has a name not there yet, such as the class's own, checks nothing."""

    def holder() -> None: ...

    holder.__annotations__ = {"value": kind}
    try:
        return get_type_hints(holder, names, include_extras=True)["value"]
    except Exception:
        return Any


def _has_array(kind: Any) -> bool:
    """Whether an annotation has a shape in it."""
    own = inspect.isclass(kind) and issubclass(kind, jaxtyping.AbstractArray)
    return own or any(map(_has_array, get_args(kind)))
