//! Seconds since 1970 as people read them, in UTC.

/// `20260131-235959`: sorts as time does.
pub fn stamp(seconds: u64) -> String {
    let (y, m, d) = date(seconds);
    format!("{y:04}{m:02}{d:02}-{:02}{:02}{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// `2026-01-31 23:59 UTC`.
pub fn read(seconds: u64) -> String {
    let (y, m, d) = date(seconds);
    format!("{y:04}-{m:02}-{d:02} {:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60)
}

/// `2026-01-31T23:59:59Z`, as ISO 8601 has it.
pub fn iso(seconds: u64) -> String {
    let (y, m, d) = date(seconds);
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}Z", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// The civil date, counted in 400-year cycles that begin on the first of March.
fn date(seconds: u64) -> (u64, u64, u64) {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let month_of_year = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month_of_year <= 2), month_of_year, of_year - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil_ones() {
        assert_eq!(read(0), "1970-01-01 00:00 UTC");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert_eq!(iso(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(read(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(read(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
