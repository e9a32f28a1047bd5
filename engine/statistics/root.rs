//! Where a function crosses 0.

/// The crossing of a continuous `f` that has different signs at `a` and `b`, to 14 digits. Inverse quadratic interpolation where that is safe, and
/// bisection where it is not (Chandrupatla, "A New Hybrid Quadratic/Bisection Algorithm", Advances in Engineering Software 28, 1997).
pub(crate) fn crossing(a: f64, b: f64, f: impl Fn(f64) -> f64) -> f64 {
    // The newest point, the one across from it, and the one before it.
    let (mut new, mut across) = ((a, f(a)), (b, f(b)));
    let mut share = 0.5;
    let mut best = if new.1.abs() < across.1.abs() { new.0 } else { across.0 };
    for _ in 0..200 {
        let x = new.0 + share * (across.0 - new.0);
        let y = f(x);
        let before = if (y > 0.0) == (new.1 > 0.0) { new } else { std::mem::replace(&mut across, new) };
        new = (x, y);
        best = if new.1.abs() < across.1.abs() { new.0 } else { across.0 };
        let width = across.0 - new.0;
        let finest = 1e-14 * best.abs() / width.abs();
        if y == 0.0 || finest > 0.5 {
            break;
        }
        let (place, rise) = ((new.0 - across.0) / (before.0 - across.0), (new.1 - across.1) / (before.1 - across.1));
        share = if rise * rise < place && (1.0 - rise) * (1.0 - rise) < 1.0 - place {
            let to_across = new.1 / (across.1 - new.1) * before.1 / (across.1 - before.1);
            let to_before = (before.0 - new.0) / width * new.1 / (before.1 - new.1) * across.1 / (before.1 - across.1);
            to_across + to_before
        } else {
            0.5
        };
        share = share.max(finest).min(1.0 - finest);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_found_where_they_are() {
        let near = |found: f64, truth: f64| assert!((found - truth).abs() <= 1e-13 * truth, "{found} {truth}");
        near(crossing(0.0, 2.0, |x| x * x - 2.0), 2_f64.sqrt());
        near(crossing(0.0, 2.0, |x| 2.0 - x * x), 2_f64.sqrt());
        near(crossing(2.0, 0.0, |x| x * x - 2.0), 2_f64.sqrt());
        // Flat for most of the way.
        near(crossing(0.0, 1000.0, |x| (x - 900.0).max(-1e-9)), 900.0);
        near(crossing(0.0, 1.0, |x| x - 1.0), 1.0);
        assert_eq!(crossing(0.0, 1.0, |x| x), 0.0);
        assert!(crossing(-1.0, 1e6, f64::cbrt).abs() < 1e-12);
    }

    #[test]
    fn few_values_are_asked_for() {
        let asked = std::cell::Cell::new(0);
        let _ = crossing(0.0, 4.0, |x| {
            asked.set(asked.get() + 1);
            x.tanh() - 0.5
        });
        assert!(asked.get() < 15, "{}", asked.get());
    }
}
