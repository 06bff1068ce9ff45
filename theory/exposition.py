"""Derivations as values, and how they print: numbered steps with a reason each, then the proofs."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter


@dataclass(frozen=True)
class Example:
    """left = right at a small size, the right side computed by sympy."""

    left: str
    right: sp.Expr
    left_latex: str = ""  # where it differs from left

    def __str__(self) -> str:
        return f"{self.left} = {_Plain().doprint(self.right)}".replace("**", "^").replace("*", " ")

    def to_latex(self) -> str:
        return f"{self.left_latex or self.left} = {_Latex().doprint(self.right)}"


@dataclass(frozen=True)
class Step:
    """One line of a derivation."""

    reason: str  # words alone
    formula: str  # plain text, at any size
    latex: str
    example: Example | None = None


@dataclass(frozen=True)
class Proof:
    """A claim checked symbolically: the difference of its two sides must reduce to 0 in every case."""

    claim: str  # words alone, as are the cases
    cases: str
    residuals: tuple[sp.Expr, ...]

    @property
    def proved(self) -> bool:
        return len(self.residuals) > 0 and all(residual == 0 for residual in self.residuals)


@dataclass(frozen=True)
class Derivation:
    """A closed form with its derivation and proofs; ``str`` and `to_latex` render it.

    Attributes:
        name: as given to `derive`.
        title: what is derived.
        setting, setting_latex: the law, the channel and the notation.
        steps: in order; the last ones say what the result means for learning.
        proofs: each against the sum over the support of the Gaussian posterior.
        denoiser: the optimal denoiser of the first cell, at the size of the examples.
    """

    name: str
    title: str
    setting: str
    setting_latex: str
    steps: tuple[Step, ...]
    proofs: tuple[Proof, ...]
    denoiser: sp.Expr

    @property
    def proved(self) -> bool:
        """Whether every proof holds."""
        return all(proof.proved for proof in self.proofs)

    def __str__(self) -> str:
        lines = [self.title, "=" * len(self.title), "", textwrap.fill(self.setting, 100), ""]
        for number, step in enumerate(self.steps, 1):
            lines += [textwrap.fill(f"{number}. {step.reason}.", 100, subsequent_indent="   "), ""]
            lines += [textwrap.indent(step.formula, " " * 7), ""]
            if step.example is not None:
                lines += [f"   e.g. {step.example}", ""]
        lines += ["Proved by sympy, where every posterior is the sum of Gaussians over the support itself:", ""]
        for proof in self.proofs:
            wrong = [residual for residual in proof.residuals if residual != 0]
            verdict = "difference 0, proved" if proof.proved else f"difference {wrong}, NOT PROVED"
            lines += [f"  * {proof.claim}", f"    {proof.cases}: {verdict}"]
        return "\n".join(lines)

    def to_latex(self) -> str:
        """A LaTeX fragment, a section with numbered steps and the list of proofs; it needs amsmath."""
        lines = [rf"\section*{{{self.title}}}", self.setting_latex, r"\begin{enumerate}"]
        for step in self.steps:
            lines += [rf"\item {step.reason}:", rf"\[ {step.latex} \]"]
            if step.example is not None:
                lines += ["For example", rf"\[ {step.example.to_latex()} \]"]
        lines += [
            r"\end{enumerate}",
            "Proved by sympy, where every posterior is the sum of Gaussians over the support itself:",
        ]
        lines += [r"\begin{itemize}"]
        for proof in self.proofs:
            verdict = "proved" if proof.proved else r"\textbf{not proved}"
            lines += [rf"\item {proof.claim} ({proof.cases}): {verdict}"]
        return "\n".join([*lines, r"\end{itemize}"])


class _Plain(StrPrinter):
    def _as_ordered_terms(self, expr: sp.Expr, order: str | None = None) -> list[sp.Expr]:
        return _ascending(expr)


class _Latex(LatexPrinter):
    def _as_ordered_terms(self, expr: sp.Expr, order: str | None = None) -> list[sp.Expr]:
        return _ascending(expr)


def _ascending(total: sp.Expr) -> list[sp.Expr]:
    """Terms as one writes them: few symbols first, then by name, the remainder last."""
    return sorted(total.args, key=lambda x: (isinstance(x, sp.Order), len(x.free_symbols), str(x.as_coeff_Mul()[1])))
