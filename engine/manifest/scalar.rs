//! Which type an unquoted word has: the core schema of YAML 1.2 (section 10.3.2), two traps left out.
//!
//! `no`, `yes`, `on` are text, as in YAML 1.2. `007` is text and not 7, and `1_000` is text: who writes a leading zero or a separator
//! means something that a number would lose, and is told so where a number is needed.

use super::Value;

/// Types an unquoted word.
#[must_use]
pub fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::Text(text.into())),
    }
}

fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let signed = |value: f64| if negative { -value } else { value };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(signed(f64::INFINITY))),
        ".nan" | ".NaN" | ".NAN" if digits.len() == text.len() => {
            return Some(Value::Float(f64::NAN));
        }
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let all = !rest.is_empty() && rest.chars().all(|letter| letter.is_digit(radix));
            let value = i64::from_str_radix(rest, radix).ok().filter(|_| all);
            return value.map(Value::Int);
        }
    }
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit() {
        return None;
    }
    if whole && !digits.is_empty() {
        // A number too large for 64 bits is still a number; as a float it is out of every range of whole numbers.
        let float = || text.parse().ok().map(Value::Float);
        return text.parse().ok().map(Value::Int).or_else(float);
    }
    let starts = digits.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.');
    let known = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let counts = digits.bytes().any(|byte| byte.is_ascii_digit());
    (starts && known && counts).then(|| text.parse().ok().map(Value::Float)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match scalar(text) {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("bool {value}"),
            Value::Int(value) => format!("int {value}"),
            Value::Float(value) => format!("float {value:?}"),
            Value::Text(text) => format!("text {text}"),
            Value::List(_) | Value::Map(_) | Value::Broken => "not a scalar".to_owned(),
        }
    }

    #[test]
    fn words_have_the_types_of_yaml_1_2() {
        let table = [
            ("", "null"),
            ("~", "null"),
            ("null", "null"),
            ("true", "bool true"),
            ("FALSE", "bool false"),
            ("yes", "text yes"),
            ("no", "text no"),
            ("on", "text on"),
            ("0", "int 0"),
            ("+12", "int 12"),
            ("-3", "int -3"),
            ("0x1F", "int 31"),
            ("0o17", "int 15"),
            ("0x", "text 0x"),
            ("1e-5", "float 1e-5"),
            ("1E3", "float 1000.0"),
            (".5", "float 0.5"),
            ("5.", "float 5.0"),
            ("-0.1", "float -0.1"),
            (".inf", "float inf"),
            ("-.Inf", "float -inf"),
            (".nan", "float NaN"),
            ("-.nan", "text -.nan"),
            ("inf", "text inf"),
            ("nan", "text nan"),
            ("infinity", "text infinity"),
            ("007", "text 007"),
            ("-01", "text -01"),
            ("00.5", "text 00.5"),
            ("0.5", "float 0.5"),
            ("1_000", "text 1_000"),
            ("1.2.3", "text 1.2.3"),
            ("e5", "text e5"),
            (".", "text ."),
            ("+", "text +"),
            ("1e", "text 1e"),
            ("12ab", "text 12ab"),
            ("movielens/100k", "text movielens/100k"),
            ("--1", "text --1"),
            ("9223372036854775807", "int 9223372036854775807"),
            ("9223372036854775808", "float 9.223372036854776e18"),
        ];
        for (text, expected) in table {
            assert_eq!(show(text), expected, "{text:?}");
        }
    }
}
