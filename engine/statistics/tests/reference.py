"""Makes tests/reference.json: what scipy, statsmodels and mpmath say, for the tests of this crate to compare with.

    pip install scipy==1.17.1 statsmodels==0.15.0 numpy==2.4.6 mpmath==1.4.1
    python engine/statistics/tests/reference.py > engine/statistics/tests/reference.json

The data are made here and stand in the JSON, so that both sides have the same bits. The only code written twice is the random stream
of the bootstrap (class Stream below): scipy makes its intervals from the very resamples that the crate draws.
"""

import json
import types

import mpmath
import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW, ttest_ind

MASK = (1 << 64) - 1


def splitmix(word):
    """SplitMix64: the numbers after the seed `word`."""
    while True:
        word = (word + 0x9E3779B97F4A7C15) & MASK
        z = word
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


class Stream:
    """random.rs once more: xoshiro256++ named by (seed, role, index)."""

    def __init__(self, seed, role, index):
        mixed = lambda word: next(splitmix(word))
        words = splitmix(mixed(mixed(mixed(seed) ^ role) ^ index))
        self.state = [next(words) for _ in range(4)]

    def bits(self):
        rotl = lambda x, k: ((x << k) | (x >> (64 - k))) & MASK
        a, b, c, d = self.state
        out = (rotl((a + d) & MASK, 23) + a) & MASK
        t = (b << 17) & MASK
        c ^= a
        d ^= b
        b ^= c
        a ^= d
        c ^= t
        self.state = [a, b, c, rotl(d, 45)]
        return out

    def below(self, end):
        while True:
            product = self.bits() * end
            if (product & MASK) >= (1 << 64) % end:
                return product >> 64


def resamples(n, count, seed, role):
    """Places in the sample, a row a resample."""
    streams = (Stream(seed, role, index) for index in range(count))
    return np.array([[stream.below(n) for _ in range(n)] for stream in streams])


def interval(pair):
    return [float(pair[0]), float(pair[1])]


def t_above(df, t):
    """Upper tail of Student's t to 30 digits."""
    df, t = mpmath.mpf(df), mpmath.mpf(t)
    half = mpmath.betainc(df / 2, mpmath.mpf(1) / 2, 0, df / (df + t * t), regularized=True) / 2
    return half if t >= 0 else 1 - half


def checked_t_above(df, t):
    with mpmath.workdps(30):
        value = float(t_above(df, t))
    theirs = stats.t.sf(float(t), float(df))  # Off by 5e-9 at t = 1e-8.
    assert abs(value - theirs) <= 1e-8 * theirs
    return value


def checked_t_upper(df, p):
    theirs = float(stats.t.isf(p, df))  # Off by 2e-9 at p = 0.4999.
    if p == 0.5:
        return 0.0
    with mpmath.workdps(30):
        value = mpmath.findroot(lambda t: t_above(df, t) / mpmath.mpf(p) - 1, (theirs, theirs * (1 + 1e-6)), tol=1e-28)
    assert abs(float(value) / theirs - 1) < 1e-8
    return float(value)


def noncentral_above(df, t, shift):
    """Upper tail of the noncentral t to 30 digits."""
    half = mpmath.mpf(df) / 2

    def density_times_tail(s):
        density = 2 * half**half / mpmath.gamma(half) * s ** (df - 1) * mpmath.exp(-half * s * s)
        return density * mpmath.erfc((t * s - shift) / mpmath.sqrt(2)) / 2

    ends = [0, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 5, 8, 12]
    return mpmath.quad(density_times_tail, ends)


def checked_noncentral_above(df, t, shift):
    with mpmath.workdps(30):
        value = float(noncentral_above(df, t, mpmath.mpf(shift)))
    theirs = stats.nct.sf(t, df, shift)  # Off by up to 1e-9 far below the middle.
    assert abs(value - theirs) <= 1e-8 * theirs
    return value


def effect(n, ratio, alpha, power):
    """The effect in standard deviations that the two-sided test finds with this power. statsmodels only gives the start: where few
    blocks make it large, its power is not a number and its solver stops elsewhere."""
    roughly = float(TTestPower().solve_power(None, n, alpha, power)) * float(np.sqrt(n))
    with mpmath.workdps(30):
        critical = mpmath.mpf(float(stats.t.isf(alpha / 2, n - 1)))
        found = lambda shift: noncentral_above(n - 1, critical, shift) + noncentral_above(n - 1, critical, -shift)
        shift = mpmath.findroot(lambda shift: found(shift) - power, (roughly, roughly * 1.001), tol=1e-28)
        assert abs(found(shift) - power) < 1e-13
    return float(shift) * float(np.sqrt(1 / n + ratio))


def distributions():
    dfs = [1, 1.5, 2, 3, 4, 4.7, 5, 9, 9.33, 15, 19, 30, 57.3, 99, 200, 1000]
    ts = [0, 1e-8, 1e-3, 0.1, 0.5, 0.99, 1, 1.3, 2, 2.7, 3.5, 5, 8, 15, 40, 100, -0.3, -2.5]
    ps = [1e-8, 1e-5, 1e-3, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.49, 0.4999, 0.5]
    zs = [-37, -20, -8, -5, -3, -1.96, -1, -0.1, -1e-6, 0, 0.3, 1, 2, 4, 8]
    qs = [1e-300, 1e-20, 1e-10, 1e-5, 1e-4, 1e-3, 0.025, 0.1, 0.3, 0.49, 0.4999999, 0.5, 0.51, 0.7, 0.9, 0.975, 0.999, 0.99999]
    ncs = [(df, t, shift) for df in [1, 2, 4, 9, 19, 99, 1000] for t in [1.5, 2.3, 4.3] for shift in [0, 0.5, 2, 4, 8, -1]]
    return {
        "t_above": [[df, t, checked_t_above(df, t)] for df in dfs for t in ts],
        "t_upper": [[df, p, checked_t_upper(df, p)] for df in dfs for p in ps],
        "normal_cdf": [[z, float(stats.norm.cdf(z))] for z in zs],
        "normal_quantile": [[q, float(stats.norm.ppf(q))] for q in qs],
        "noncentral_above": [[df, t, shift, checked_noncentral_above(df, t, shift)] for df, t, shift in ncs],
    }


def t_test(d, ratio):
    """Nadeau and Bengio: the standard error of the mean is wider, the rest is Student's t."""
    n, mean = len(d), float(np.mean(d))
    error = float(np.std(d, ddof=1) * np.sqrt(1 / n + ratio))
    t = stats.t(n - 1, loc=0, scale=1)
    frozen = stats.t(n - 1, loc=mean, scale=error)
    out = {
        "ratio": ratio,
        "mean": mean,
        "standard_error": error,
        "p_two_sided": float(2 * t.sf(abs(mean / error))),
        "p_greater": float(t.sf(mean / error)),
        "p_less": float(t.cdf(mean / error)),
        "interval": interval(frozen.interval(0.95)),
    }
    if ratio == 0:  # scipy has this one as a whole.
        whole = stats.ttest_1samp(d, 0)
        out["p_two_sided"] = float(whole.pvalue)
        out["p_greater"] = float(stats.ttest_1samp(d, 0, alternative="greater").pvalue)
        out["p_less"] = float(stats.ttest_1samp(d, 0, alternative="less").pvalue)
        out["interval"] = interval(whole.confidence_interval(0.95))
    return out


def tost(d, margin, ratio):
    n, mean = len(d), np.mean(d)
    error = np.std(d, ddof=1) * np.sqrt(1 / n + ratio)
    lower, upper = stats.t.sf((mean + margin) / error, n - 1), stats.t.cdf((mean - margin) / error, n - 1)
    if ratio == 0:  # statsmodels has this one as a whole.
        _, (_, lower, _), (_, upper, _) = DescrStatsW(d).ttost_mean(-margin, margin)
    return {
        "margin": margin,
        "ratio": ratio,
        "p_above_lower": float(lower),
        "p_below_upper": float(upper),
        "interval": interval(stats.t.interval(0.9, n - 1, mean, error)),
    }


def sign_flip(d):
    def p(alternative):
        return float(
            stats.permutation_test(
                (d,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative, vectorized=True
            ).pvalue
        )

    return {"p_two_sided": p("two-sided"), "p_greater": p("greater"), "p_less": p("less")}


def bootstrap(data, statistic, replicates):
    """scipy's intervals of given replicates."""
    out = {}
    for method in ["percentile", "BCa"]:
        found = stats.bootstrap(
            data, statistic, paired=True, vectorized=True, n_resamples=0, method=method, confidence_level=0.95,
            bootstrap_result=types.SimpleNamespace(bootstrap_distribution=replicates),
        )
        out[method.lower()] = interval(found.confidence_interval)
        out["standard_error"] = float(found.standard_error)
    return out


def bca(d, count, seed):
    # Rounded, so that resamples with the same mean have the same bits, whatever the order of their sum.
    mean = lambda x, axis=-1: np.round(np.mean(x, axis=axis), 14)
    d = np.sort(d)
    return {"resamples": count, "seed": seed, **bootstrap((d,), mean, mean(d[resamples(len(d), count, seed, 1)]))}


def clusters(rng, users):
    rows = rng.integers(1, 40, users)
    level = rng.normal(0, 0.1, users)
    method = rows * (0.81 + level) * rng.uniform(0.7, 1.3, users)
    reference = rows * (0.84 + level) * rng.uniform(0.7, 1.3, users)
    order = np.lexsort((reference, method, rows))
    return rows[order], method[order], reference[order]


def cluster_bootstrap(rows, method, reference, aggregate, count, seed):
    def difference(rows, method, reference, axis=-1):
        total = np.sum(rows, axis=axis)
        mean = lambda x: np.sum(x, axis=axis) / total
        root = np.sqrt if aggregate == "root_mean" else lambda x: x
        return np.round(root(mean(method)) - root(mean(reference)), 14)

    data = (rows.astype(float), method, reference)
    places = resamples(len(rows), count, seed, 2)
    return {
        "aggregate": aggregate, "resamples": count, "seed": seed,
        "rows": rows.tolist(), "method": method.tolist(), "reference": reference.tolist(),
        "difference": float(difference(*data)),
        **bootstrap(data, difference, difference(*(x[places] for x in data))),
    }


def gate(current, reference, tolerance):
    paired = stats.ttest_rel(current, reference + tolerance, alternative="greater")
    t, p, df = ttest_ind(current, reference, alternative="larger", usevar="unequal", value=tolerance)
    assert abs(p - stats.ttest_ind(current, reference + tolerance, equal_var=False, alternative="greater").pvalue) < 1e-12
    return {
        "current": current.tolist(), "reference": reference.tolist(), "tolerance": tolerance,
        "paired_p": float(paired.pvalue), "welch_p": float(p), "welch_df": float(df),
    }


def main():
    rng = np.random.default_rng(20)
    samples = [
        np.array([0.3, -0.1]),
        np.array([-0.012, -0.003, -0.021]),
        np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        np.array([-0.01, 0.01, 0.02, -0.02, 0.0]),  # many ties, and a zero
        rng.normal(-0.004, 0.006, 5),
        rng.normal(0.02, 0.05, 10),
        rng.exponential(0.01, 10) - 0.008,
        rng.standard_t(3, 16) * 0.03,
        rng.normal(0.0005, 0.002, 20),
        1e3 + rng.normal(0, 1, 12),
    ]
    cases = []
    for d in samples:
        case = {"differences": d.tolist(), "sd": float(np.std(d, ddof=1))}
        case["t"] = [t_test(d, ratio) for ratio in [0, 0.125, 0.25, 1]]
        case["tost"] = [tost(d, margin, ratio) for margin in [0.005, 0.03] for ratio in [0, 0.125]]
        if len(d) <= 16:
            case["sign_flip"] = sign_flip(d)
        if 3 <= len(d) and abs(np.mean(d)) < 1e3:
            case["bca"] = bca(d, 2000, 7)
        cases.append(case)
    p_values = [
        [0.01], [0.04, 0.04], [0.01, 0.04, 0.03, 0.005], [0.2, 0.9, 0.5], [0.0, 1.0, 0.02, 0.02, 0.024],
        rng.uniform(0, 0.2, 12).tolist(), (rng.uniform(0, 1, 40) ** 4).tolist(),
    ]
    effects = [
        [n, ratio, alpha, power, effect(n, ratio, alpha, power)]
        for n in [2, 3, 5, 10, 20, 50] for ratio in [0, 0.125] for alpha, power in [(0.05, 0.8), (0.01, 0.9)]
        if n > 2 or alpha == 0.05
    ]
    print(json.dumps({
        "distributions": distributions(),
        "cases": cases,
        "holm": [{"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()} for p in p_values],
        "effects": effects,
        "clusters": [
            cluster_bootstrap(*clusters(rng, users), aggregate, 2000, 3)
            for users, aggregate in [(4, "root_mean"), (30, "root_mean"), (60, "mean")]
        ],
        "gates": [
            gate(rng.normal(0.95 + shift, 0.004, n), rng.normal(0.95, 0.006, n), tolerance)
            for n, shift, tolerance in [(2, 0.01, 0.002), (3, 0.0, 0.002), (5, 0.006, 0.002), (10, 0.01, 0.0)]
        ],
    }, indent=1))


main()
