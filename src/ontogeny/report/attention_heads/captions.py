"""What stands under each figure and table of the attention-heads report."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """The caption, and what the figure shows to someone who cannot see it."""

    caption: str
    alt: str


_STAGES = """The bands behind are the stages of the whole model's λ̂ on text, named by what forms in them; dotted lines
bound where each ends. Step 0 stands at half of the first step after it."""
_SYMBOLS = """Bands are ±1.96 standard errors; a symbol other than a full circle is a status other than ok, named in the
point's box. λ̂ below the baseline, where w* is no minimum, is drawn as it came."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _caption(caption: str, alt: str) -> Caption:
    return Caption(_one_line(caption), _one_line(alt))


REFINED = _caption(
    f"""λ̂ of every head (figures 1 left, 2, 3, 5, 8 and 23 of the paper): on held-out text of the training mixture
    (wrLLC), on code (wdrLLC), and with the one-layer model as generating process, equation (11). Coloured by type or by
    cluster as the selector says; a head's shade tells it from others of its group, and its box has its card.
    {_SYMBOLS} {_STAGES}""",
    "Curves of the refined local learning coefficient of each head over training, a row a layer, a column a data set.",
)
MULTIGRAMS = _caption(
    """Final wrLLC of each head over the number of its unique multigrams (figures 1 right and 11 of the paper): Dyck
    patterns, skip n-grams and n-grams among its most affected tokens in context. Bars are ±1.96 standard errors of λ̂;
    the count has no error, and grows with the tokens looked at.""",
    "A point a head: the number of its multigrams and its final refined learning coefficient.",
)
TAXONOMY = _one_line(
    """Types of heads at the last checkpoint (Table 1 of the paper): by the highest of three attention scores, on
    repeated random tokens, where that is at least 0.3; else multigram. Pattern: what explains the largest share of the
    head's tokens in context. Scores ± standard errors over sequences."""
)
CARDS = _caption(
    """A head's card (figure 4 of the paper): the tokens in context whose loss rises most when the head is mean-ablated,
    one a row, with the attention of the head from the current token (thin box) as colour; the token in the thick box is
    the one that is to be foretold. · is a space, ⏎ the end of a line. Labels say by how much the loss rises (nats)
    and which pattern explains the token. Text on which models were trained.""",
    "Rows of text, each token's cell coloured by the attention that a head pays to it.",
)
SHARES = _caption(
    """Shares of each head's tokens in context that each pattern explains (figure 9 of the paper), at two checkpoints;
    heads in the order of their number of unique multigrams. The standard error of a share s is √(s(1 - s)/n), with n
    tokens of the head.""",
    "Stacked bars, one a head: shares of induction patterns, Dyck patterns, skip n-grams, n-grams and the unexplained.",
)
MIGRATIONS = _one_line(
    """Multigrams that left one head and joined another between the two checkpoints with tokens in context (appendix B.6
    of the paper), those with most tokens first. A multigram is told by the texts of its tokens."""
)
ATTENTION = _caption(
    f"""Where heads look on repeated random tokens (Olsson et al. 2022; figures 24 centre-left and right of the paper on
    this study's model). Bands are ±1.96 standard errors over sequences. {_STAGES}""",
    "Curves of the previous-token, current-token and prefix-matching score of each head over training.",
)
ABLATIONS = _caption(
    f"""The loss with a head ablated less the loss without (figure 17 of the paper): its output replaced by zero, by its
    mean over the rows, or by what it is on another row. Bands are ±1.96 standard errors over rows. {_STAGES}""",
    "Curves of three ablation scores of each head over training.",
)
TRACES = _caption(
    f"""The trace of the Hessian of the mean loss over each head's own weights (figure 14 of the paper), by Hutchinson's
    method; bands are ±1.96 standard errors over random vectors and rows. {_STAGES}""",
    "Curves of the Hessian trace of each head over training, on text and on code.",
)
FISHERS = _caption(
    f"""The trace of the Fisher information over each head's own weights, on text (figure 15 of the paper): contexts are
    the data's, targets drawn from the model, where the paper draws whole sequences from it. It would be the Hessian's
    trace if the data were what the model predicts. Bands are ±1.96 standard errors over draws and rows. {_STAGES}""",
    "Curves of the Fisher trace of each head over training, a panel a layer.",
)
ROWS_NOT_IN_IT = _one_line(
    """The Hessian is of a sample of the rows; errors of rank and prediction hold random vectors and Lanczos steps, not
    which rows were drawn. The gradient is of all rows."""
)
RANKS = _caption(
    f"""The rank of the Hessian over each head's own weights, on text (figure 16 of the paper, which counts above a
    threshold of its own): the number of eigenvalues with nβh > γ, those that λ̂(nβ, γ) sees, by Lanczos quadrature from
    random vectors, and so no whole number. {ROWS_NOT_IN_IT} Bands are ±1.96 standard errors. {_STAGES}""",
    "Curves of the Hessian rank of each head over training, a panel a layer.",
)
SECOND_ORDER = _caption(
    f"""wrLLC and its second-order prediction at the same (nβ, γ), a panel a head: whole, and in its parts by the
    curvature and by the gradient; what remains between wrLLC and prediction lies beyond second order. An axis holds the
    wrLLC and the curvature's part; the other two leave it where w* is far from a minimum. A gap: the quadratic has no
    posterior, since some nβh + γ is not positive. {ROWS_NOT_IN_IT} {_SYMBOLS} {_STAGES}""",
    "A panel a head: curves of the measured refined learning coefficient and of its second-order prediction.",
)
CURVATURE_TABLE = _one_line(
    f"""Curvature of each head on text at the last checkpoint, beside its wrLLC; ±: one standard error; in brackets a
    status other than ok. Traces in nats/weight², rank in eigenvalues, else dimensionless. {ROWS_NOT_IN_IT}"""
)
IN_CONTEXT = _caption(
    f"""In-context learning and λ̂ on code (figure 10 of the paper). Above: the loss late in the context less the loss
    early in it, with one of the two heads that look most like induction heads mean-ablated, and whole. Below: λ̂ on code
    of the other head, and of both together. {_SYMBOLS} {_STAGES}""",
    "The in-context learning score over training above the refined learning coefficient of induction heads on code.",
)
RELATIVE = _caption(
    f"""The relative difference of each head's λ̂ on code and on text (as figure 24 of the paper has it for Pythia-70M;
    here on this study's model). Shown where the wrLLC is more than three of its standard errors above 0. Bands are
    ±1.96 standard errors. {_STAGES}""",
    "Curves of the relative difference of two refined learning coefficients of each head over training.",
)
BRACKETS = _caption(
    f"""Closing a bracket (figure 6 of the paper): the loss of ")" at the end of made-up sentences; with the receiver
    mean-ablated; and with all multigram heads of layer 0 mean-ablated in what the receiver reads alone. The receiver is
    the multigram head above layer 0 whose ablation hurts most at the last checkpoint on nested brackets. Bands are
    ±1.96 standard errors over sentences, of the differences alone for the two ablations. {_STAGES}""",
    "Curves of the loss of a closing bracket over training, without and with nested brackets.",
)
COMPOSITION = _caption(
    f"""Composition of each head of layer 0 with the heads above (figure 7 of the paper, equation (12)), from the
    weights alone and so without an error. Independent random heads have about 1/√width, not 0. {_STAGES}""",
    "Curves of composition scores over training, a panel a head of layer 0.",
)
WHOLE = _caption(
    f"""λ̂ of all weights and the mean loss (figures 12 and 13 of the paper): on each data set, and with the zero- and
    the one-layer model as generating process, where the loss is a divergence. {_SYMBOLS} {_STAGES}""",
    "Curves of the learning coefficient and of the loss of the whole model over training, a curve a data set.",
)
STAGES = _one_line(
    """Stages between the turns and plateaus of λ̂ of the whole model on text, with the steps between which each ends.
    What forms: the behaviour that makes most of its change, and at least 30 % of it, in the stage. A seed with fewer
    than five usable estimates has none."""
)
CLUSTERS = _caption(
    f"""Heads of a layer clustered by their λ̂ on text and on code together (figures 18 and 19 of the paper, which have
    one algorithm a row; 20 to 22 for further seeds, with the centres found on seed 0). Only the part on text is drawn.
    {_STAGES}""",
    "Curves of the refined learning coefficient of each head, coloured by cluster, a row an algorithm.",
)
CLUSTER_TABLE = _one_line(
    """Quality of the clusters; the adjusted Rand index (ARI) with clusters of standardised curves and with the types of
    heads, one-sided p by permutation of types within the layer; and the least index, of groups of these sizes, with p
    of at most 0.05 (— where there is none). Checkpoints at which less than three quarters of the layer's heads are
    usable are left out, and then heads with a gap. The vote counts shape-based clusters twice; the stability beside it
    is that of Euclidean k-means, the mean ARI when curves move within their errors, with the range of 90 % of the
    draws."""
)
STATEMENTS = _one_line(
    """What the paper states, and what was measured here. ±: one standard error. What has an error is decided where
    the effect is 1.96 of them from where it would turn; clusters by their permutation test; types, the time of a fall
    and the turn of a composition by what is seen. A verdict is that of all seeds that can tell. Where none can, the
    effect that such a run would have found in four of five cases stands beside it, where an error says it."""
)
