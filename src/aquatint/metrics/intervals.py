"""Confidence intervals of proportions."""

import math

NORMAL_QUANTILE_975 = 1.959963984540054


def confidence_interval(successes: int, n: int) -> list[float] | None:
    """Return the Wilson 95 % interval of a proportion.

    Trials are taken as independent; several captions of one image are not quite, so the interval
    of a recall is a little too narrow.

    Args:
        successes: Number of successes, 0 to n.
        n: Number of trials.

    Returns:
        Low and high end in [0, 1]; None without trials.

    Raises:
        ValueError: If ``successes`` is not in 0 to n.

    References:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927,
        https://doi.org/10.1080/01621459.1927.10502953.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, got {successes} of {n}.")
    if n == 0:
        return None
    share = successes / n
    z_squared_per_n = NORMAL_QUANTILE_975**2 / n
    center = share + z_squared_per_n / 2
    half_width = math.sqrt(z_squared_per_n * (share * (1 - share) + z_squared_per_n / 4))
    scale = 1 + z_squared_per_n
    # Clamped, because rounding can put the ends of 0 or n successes just outside.
    return [max(0.0, (center - half_width) / scale), min(1.0, (center + half_width) / scale)]
