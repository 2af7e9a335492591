"""Objectives: sums of terms as solvers are given them, taken apart and checked."""

from collections.abc import Callable, Iterable

from invreg.core.functional import Functional, Precomposed, Sum, refuse_another_shape
from invreg.core.operator import Linear
from invreg.core.space import ShapeError


def convex_terms(who: str, objective: Functional | Iterable[Functional]) -> tuple[Functional, ...]:
    """The terms of a convex objective on one image, for a solver called `who`.

    Raises TypeError for a term that is not convex, and as `checked_terms`. The sentence names the term and what to use
    instead.
    """
    terms = checked_terms(who, objective)
    for t in terms:
        if not t.convex:
            raise TypeError(f"{who} minimises convex objectives, and {t.name} is not convex: use {t.instead}")
    return terms


def checked_terms(who: str, objective: Functional | Iterable[Functional]) -> tuple[Functional, ...]:
    """The terms of an objective on one image, convex or not, for a solver called `who`.

    Raises TypeError for what is no term and a term f @ K whose K is not linear, and ShapeError for terms on images of
    different shapes.
    """
    given = [objective] if isinstance(objective, Functional) else list(objective)
    terms = tuple(t for f in given for t in (f.terms if isinstance(f, Sum) else [f]))
    if not terms:
        raise TypeError(f"{who} takes at least one term; got none")
    domain, first = None, ""
    for t in terms:
        if not isinstance(t, Functional):
            raise TypeError(f"{who} takes terms f or f @ K (invreg.core.Functional); got a {type(t).__name__}")
        if isinstance(t, Precomposed) and not isinstance(t.K, Linear):
            raise TypeError(
                f"{who} takes terms f @ K with a linear K; got {t.name}, whose K has no adjoint: use its derivative "
                "at an estimate as a Linear, or descend the gradient of f(K(x)), with torch.optim say"
            )
        if isinstance(t, Precomposed):
            if domain is None:
                domain, first = t.K.domain, t.name
            if t.K.domain != domain:
                raise ShapeError(
                    f"{who}: {first} acts on images of {domain}, {t.name} on those of {t.K.domain}; "
                    "all terms must act on the same"
                )
    for t in terms:
        if domain is not None and not isinstance(t, Precomposed):
            refuse_another_shape(t, domain, "the image of the other terms")
    return terms


def taken_apart(
    who: str,
    objective: Functional | Iterable[Functional],
    taken: Callable[[Functional], bool] = lambda t: False,
    kind: str = "",
) -> tuple[tuple[Functional, ...], tuple[Precomposed, ...], tuple[Functional, ...], Functional | None]:
    """All `convex_terms`; those f @ K; those of the image itself that are `taken`; the other one of these, or None.

    Raises TypeError, with `kind` in words, where there is no term f @ K or more than one other, and as `convex_terms`.
    """
    terms = convex_terms(who, objective)
    blocks = tuple(t for t in terms if isinstance(t, Precomposed))
    simple = [t for t in terms if not isinstance(t, Precomposed)]
    free = [t for t in simple if not taken(t)]
    if len(free) > 1 or not blocks:
        raise TypeError(
            f"{who} takes at least one term f @ K and at most one term without{kind}; got "
            + ", ".join(t.name for t in terms)
        )
    return terms, blocks, tuple(t for t in simple if taken(t)), free[0] if free else None
