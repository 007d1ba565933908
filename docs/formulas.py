r"""Formulas as docstrings write them, set as mathematics: `w <- w - a_t m_hat / n_t` and its like.

The notation: `b1` has an index and `m_hat` a hat, `x_{t-1}` and `b2^(t-1)` group, a space is a
product, `f(x)` without one an application, `a b / c d` is (a b / c) d, and `2h` is one factor.
Three spaces or more separate a formula from words beside it. What does not parse raises
`ValueError`; the site shows it as it stands.
"""

import html
import re


GREEK = {
    *("alpha", "beta", "gamma", "delta", "eta", "theta", "kappa", "lambda"),
    *("mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi"),
}
SPECIAL = {"eps": r"\varepsilon", "epsilon": r"\varepsilon", "inf": r"\infty", "grad": r"\nabla"}
FUNCTIONS = {"exp", "log", "cos", "sin", "tanh", "cosh", "max", "min", "argmin", "argmax", "sign"}
BIG = {"sum": r"\sum", "prod": r"\prod"}
RELATIONS = {
    **{"<-": r"\leftarrow", "->": r"\to", "<=": r"\le", ">=": r"\ge", "!=": r"\ne"},
    **{"=": "=", "<": "<", ">": ">", "~": r"\sim"},
}
NAME = r"[A-Za-z][A-Za-z0-9]*'*(?:_[A-Za-z0-9]+'*)*"
SIGN = r"<-|->|<=|>=|!=|\+-|\.\.\.|[-+*/^_=<>~|(){}\[\],:;.']"
TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<name>{NAME})|(?P<sign>{SIGN}))"
)
WORD = r"(?<![\w\\])[A-Za-z]{2,}(?![\w(_^'])"
RELATION = re.compile(r"<-|(?<![<>!])=|\s[<>]\s")


def table(block: str) -> str:
    """HTML of a block of formulas: a row a line, aligned at the first relation, words beside it."""
    rows = [row(line) for line in block.splitlines() if line.strip()]
    if not any(kind == "math" for cells in rows for kind, _ in cells):
        raise ValueError("words only")
    return f'<div class="formula"><table>{"".join(map(html_row, rows))}</table></div>'


def html_row(cells: list[tuple[str, str]]) -> str:
    """Label, left side, right side and remark; a line of words fills the last."""
    label = cells.pop(0)[1] if len(cells) > 1 and cells[0][0] == "words" else ""
    in_words = bool(label) and cells[0][0] == "words"  # what the label means, without a formula
    meaning = cells.pop(0)[1] if in_words else ""
    remark = "; ".join(text.rstrip(",;") for kind, text in cells if kind == "words")
    maths = r",\quad ".join(text.rstrip(r",\; ") for kind, text in cells if kind == "math")
    left, relation, right = split_at_relation(maths)
    sides = [mathml(left), html.escape(meaning) or mathml(f"{relation} {right}")]
    texts = [html.escape(label), *sides, html.escape(remark)]
    classes = ("label", "left", "right words" if in_words else "right", "remark")
    both = zip(classes, texts, strict=True)
    return "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for kind, text in both) + "</tr>"


def mathml(latex: str) -> str:
    """As an element that browsers draw themselves; nothing for nothing."""
    from latex2mathml.converter import convert  # of the extra `docs`

    if not latex.strip():
        return ""
    return convert(latex).replace("<math ", '<math displaystyle="true" ', 1)


def row(line: str) -> list[tuple[str, str]]:
    """The cells of a line: ("math", LaTeX) or ("words", text)."""
    line = re.sub(r"\s+(<-|=|<=|>=|->) +", r" \1 ", line.strip().replace("``", ""))
    line = re.sub(r"^([a-z_]{3,})\s{2,}", r"\1   ", line)
    cells = re.split(r"\s{3,}|(?<=[,;])\s{2,}", line)
    if len(cells) > 3 and not RELATION.search(line):
        raise ValueError("words below a formula")
    label = len(cells) > 1 and re.fullmatch(r"[A-Za-z]\w{3,}(\(\w*\))?:?", cells[0])
    found = [("words", cells.pop(0))] if label else []
    for cell in cells:
        words = is_words(cell)
        found.append(("words", cell) if words else ("math", Parser(cell).everything()))
    return found


def is_words(cell: str) -> bool:
    """Whether a cell is a remark or a label, and not a formula."""
    known = GREEK | SPECIAL.keys() | BIG.keys() | FUNCTIONS
    words = [word for word in re.findall(WORD, cell) if word not in known]
    if cell.startswith(("where ", "for ", "with ")):
        return len(words) > 1
    if RELATION.search(cell) and not cell.startswith("("):
        return len(words) > 5
    return bool(words) or not re.search(r"[/^|*+]|\w\(|_", cell)


def split_at_relation(text: str) -> tuple[str, str, str]:
    """Around the first relation that stands in no braces and behind no words."""
    depth = 0
    text, words, rest = text.partition(r"\text{ ")
    rest = words + rest
    for match in re.finditer(r"\\leftarrow|\\le(?!\w)|\\to\b|[=<>{}]", text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth and match[0] not in "{}":
            return text[: match.start()], match[0], text[match.end() :] + rest
    return "", "", text + rest


class Parser:
    """Recursive descent over the tokens of one cell."""

    def __init__(self, text: str):
        self.tokens: list[tuple[str, str, bool]] = []  # kind, text, whether a space is before it
        self.place = self.bars = place = 0
        text = text.rstrip(" .:") if not text.endswith("...") else text
        while place < len(text):
            match = TOKEN.match(text, place)
            if not match:
                raise ValueError(f"no formula: {text[place:]!r}")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind], match.start(kind) > place or place == 0))
            place = match.end()

    def peek(self, ahead: int = 0) -> tuple[str, str, bool]:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else ("end", "", True)

    def take(self, text: str = "") -> str:
        kind, found, _ = self.peek()
        if kind == "end" or (text and found != text):
            raise ValueError(f"{text!r} was expected, got {found!r}")
        self.place += 1
        return found

    def everything(self) -> str:
        found = self.sequence(())
        if self.peek()[0] != "end":
            raise ValueError(f"not understood: {self.peek()[1]!r}")
        return found

    def sequence(self, ends: tuple[str, ...]) -> str:
        """Expressions between relations and punctuation."""
        parts = []
        while self.peek()[0] != "end" and self.peek()[1] not in ends:
            text = self.peek()[1]
            if text in RELATIONS and not self.opens_product():
                parts.append(RELATIONS[self.take()])
            elif text in (",", ";", ":"):
                parts.append(rf"{self.take()}\; ")
            elif text == "|" and not self.bars and parts and self.peek(1)[2] and self.peek()[2]:
                self.take()
                parts.append(r"\mid")
            else:
                parts.append(self.sum())
        return " ".join(parts)

    def opens_product(self) -> bool:
        """Whether `<` opens an inner product, without a space behind it, as in `<g, s>`."""
        return self.peek()[1] == "<" and not self.peek(1)[2]

    def sum(self) -> str:
        parts = []
        while True:
            while self.peek()[1] in ("+", "-", "+-"):
                sign = self.take()
                parts.append(r"\pm" if sign == "+-" else sign)
            parts.append(self.product())
            if self.peek()[1] not in ("+", "-", "+-"):
                return " ".join(parts)

    def starts_factor(self) -> bool:
        kind, text, space = self.peek()
        if text == "|":
            return not self.bars and not (self.peek(1)[2] and space)
        return kind in ("number", "name") or text in ("(", "{", "[", "...") or self.opens_product()

    def product(self) -> str:
        """Factors and quotients, from the left; a big operator and a word begin another product."""
        before, found = "", self.factor()
        while True:
            text, word = self.peek()[1], found.startswith((r"\text{", r"\operatorname{arg"))
            if text == "/":
                self.take()
                found = rf"\frac{{{unwrapped(found)}}}{{{unwrapped(self.factor())}}}"
            elif text == "*" or (text == "." and self.peek(1)[0] != "end"):
                self.take()
                found += r" \cdot " + self.factor()
            elif self.starts_factor() and (word or found.endswith("}\\; ")):
                before, found = before + found, self.factor()
            elif self.starts_factor():
                more = self.factor()
                if more.startswith((r"\text{", r"\sum")):
                    before, found = f"{before}{found}\\,", more
                else:
                    found += rf"\,{more}"
            else:
                return before + found

    def factor(self) -> str:
        found = self.scripts(self.atom())
        while self.peek()[1] == "." and not self.peek()[2] and self.peek(1)[0] == "name":
            self.take()
            found += r"\cdot " + self.scripts(self.atom())
        return found

    def atom(self) -> str:
        kind, text, _ = self.peek()
        if kind == "number":
            found = self.take()
            attached = self.peek()[0] == "name" and not self.peek()[2]
            return found + self.factor() if attached else found
        if kind == "name":
            return self.name()
        if text in ("(", "[", "{"):
            close = {"(": ")", "[": "]", "{": "}"}[self.take()]
            bars, self.bars = self.bars, 0
            inside = self.sequence((close,))
            self.bars = bars
            self.take(close)
            return around(*{"(": "()", "[": "[]", "{": (r"\{", r"\}")}[text], inside)
        if text == "|":
            self.take()
            self.bars += 1
            inside = self.sum()
            self.take("|")
            self.bars -= 1
            return around("|", "|", inside)
        if text == "<":
            self.take()
            inside = self.sequence((">",))
            self.take(">")
            return rf"\left\langle {inside}\right\rangle"
        if text == "...":
            self.take()
            return r"\ldots"
        raise ValueError(f"no factor: {text!r}")

    def scripts(self, found: str) -> str:
        """The indices, exponents and primes that follow without a space."""
        while not self.peek()[2] and self.peek()[1] in ("^", "_", "'"):
            sign = self.take()
            if sign == "'":
                found += "'"
                continue
            kind, text, _ = self.peek()
            if text in ("{", "("):
                close = {"{": "}", "(": ")"}[self.take()]
                inside = self.sequence((close,))
                self.take(close)
            else:
                inside = self.take() if kind == "number" else self.name()
            found = with_script(found, sign, inside)
        return found

    def name(self) -> str:
        text = self.take()
        base, _, index = text.partition("_")
        applied = self.peek()[1] == "(" and not self.peek()[2]
        if base in BIG and not applied:
            found = self.scripts(BIG[base] + (f"_{{{index_of(index)}}}" if index else ""))
            return f"{found} {self.product()}" if self.starts_factor() else found
        if base in ("min", "max", "argmin", "mean") and self.peek()[1] == "over":
            return rf"\operatorname{{{base}}}"
        if base in FUNCTIONS:
            name = rf"\operatorname{{{base}}}" + (f"_{{{index_of(index)}}}" if index else "")
            return f"{name}{self.atom()}" if applied else f"{name}\\,"
        if text == "sqrt" and applied:
            return rf"\sqrt{{{unwrapped(self.atom())}}}"
        symbol = symbol_of(text)
        if applied and symbol.startswith(r"\text{"):
            symbol = rf"\mathrm{{{text.replace('_', ' ')}}}"
        return symbol + self.atom() if applied else symbol


def around(left: str, right: str, inside: str) -> str:
    """Brackets, as high as what they hold needs."""
    high = left == "|" or "frac" in inside or "sqrt" in inside or r"\sum" in inside
    return rf"\left{left}{inside}\right{right}" if high else f"{left}{inside}{right}"


def with_script(found: str, sign: str, inside: str) -> str:
    """`found` with one more index or exponent."""
    if found.startswith(r"\text{ "):
        found = rf"\mathrm{{{found[7:-2]}}}"
    if sign == "_" and re.search(r"_\{[^{}]*(\{[^{}]*\})?[^{}]*\}$", found):
        return f"{found[:-1]},{inside}}}"
    if sign == "^" and found.endswith("'"):
        return f"{{{found}}}^{{{inside}}}"
    return f"{found}{sign}{{{inside}}}"


def symbol_of(text: str) -> str:
    """A variable: Greek letters, indices and hats; a word stands upright."""
    base, *parts = text.replace("'", "").split("_")
    primes = text.count("'") * "'"
    digits = re.fullmatch(r"([A-Za-z]+?)(\d+)", base)
    if digits:
        base, parts = digits[1], [digits[2], *parts]
    indices = [part for part in parts if part != "hat"]
    short = len(base) <= 2 or base in GREEK or base in SPECIAL
    if not short and any(len(part) > 2 for part in indices):
        return rf"\text{{ {text.replace('_', ' ')} }}"
    if base in SPECIAL or base in GREEK:
        found = SPECIAL.get(base, f"\\{base}")
    elif len(base) == 1:
        found = base
    elif len(base) == 2 and (base[0] + base[1]).istitle():  # `Hd` is the product H d
        found = rf"{base[0]}\,{base[1]}"
    elif not parts:
        return rf"\text{{ {text} }}"
    else:
        found = rf"\mathrm{{{base}}}"
    if "hat" in parts:
        found, primes = rf"\hat{{{found}{primes}}}", ""
    if indices:
        found += f"_{{{','.join(map(index_of, indices))}}}"
    return found + primes


def index_of(part: str) -> str:
    if part in SPECIAL or part in GREEK:
        return SPECIAL.get(part, f"\\{part}")
    if part.isdigit() or len(part) == 1 or re.fullmatch(r"[ijkt]+", part):
        return part
    return rf"\mathrm{{{part}}}"


def unwrapped(text: str) -> str:
    """Without the parentheses that a fraction's line makes superfluous."""
    inside = re.fullmatch(r"(?:\\left)?\((.*?)(?:\\right)?\)", text, re.S)
    if not inside:
        return text
    depth = 0
    for bracket in re.finditer(r"[()]", inside[1]):
        depth += 1 if bracket[0] == "(" else -1
        if depth < 0:
            return text
    return inside[1]
