//! Numbers as sentences have them.

/// A measured number, to three significant digits.
pub(crate) fn number(value: f64) -> String {
    significant(value, 3)
}

/// A p-value to two significant digits, with its sign.
pub(crate) fn p(value: f64) -> String {
    if value < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {}", significant(value, 2)) }
}

fn significant(value: f64, digits: usize) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    if !(1e-5..1e6).contains(&size) {
        return scientific;
    }
    // Of the rounded number, so that 0.09996 has as many decimals as the 0.100 it becomes.
    let exponent = scientific.split_once('e').map_or("0", |(_, exponent)| exponent).parse::<i32>().unwrap_or(0);
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// A number without needless digits.
pub(crate) fn digits(value: f64) -> String {
    format!("{}", (value * 10.0).round() / 10.0)
}

/// A count and its noun.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.0123, -0.012_345, 0.099_96, 0.001, 1.0, 12.345, 123_456.0, 1e-7, -2.5e9].map(number);
        assert_eq!(shown, ["0", "0.0123", "-0.0123", "0.100", "0.00100", "1.00", "12.3", "123456", "1.00e-7", "-2.50e9"]);
        assert_eq!([p(0.05), p(0.000_01), digits(95.000_01), digits(99.9)], ["p = 0.050", "p < 0.0001", "95", "99.9"]);
        assert_eq!([count(1, "block", "blocks"), count(0, "block", "blocks")], ["1 block", "0 blocks"]);
    }
}
