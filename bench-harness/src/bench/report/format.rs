//! Values as people read them: three digits, with units. Plain text; whoever writes a page escapes it.

use crate::bench::compare::Interval;
use crate::bench::figures::Unit;

/// A number with three significant digits; whole ones to 9,999 with a separator.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 999.5 {
        return separated(value.round() as i64);
    }
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        (2 - size.log10().floor() as i32).clamp(2, 9) as usize
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') && value.fract() == 0.0 { format!("{value:.0}") } else { text }
}

fn separated(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With the largest of some prefixes that leaves at least one before the point.
fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    let (by, unit) = steps.iter().rev().find(|(by, _)| value.abs() >= by * 0.9995).unwrap_or(&steps[0]);
    format!("{} {unit}", number(value / by))
}

/// A latency of so many nanoseconds.
pub fn nanos(value: f64) -> String {
    scaled(value, &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")])
}

pub fn bytes(value: f64) -> String {
    scaled(value, &[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")])
}

/// A count that may be large.
pub fn count(value: f64) -> String {
    if value.abs() < 9999.5 { number(value) } else { scaled(value, &[(1e3, "k"), (1e6, "M"), (1e9, "G")]) }
}

/// A value with its unit.
pub fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Nanos => nanos(value),
        Unit::RecordsPerSecond => format!("{} records/s", count(value)),
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::PerSecond => format!("{} /s", count(value)),
        Unit::Micros => format!("{} µs", number(value)),
        Unit::NanosPerByte => format!("{} ns/B", number(value)),
        Unit::PerByte => format!("{} B/B", number(value)),
        Unit::Bytes => bytes(value),
        Unit::Cores => format!("{} cores", number(value)),
        Unit::Count => number(value),
    }
}

/// From one value to another, the unit said once where it is the same.
pub fn range(unit: Unit, from: f64, to: f64) -> String {
    let (from, to) = (value(unit, from), value(unit, to));
    if from == to {
        return from;
    }
    let of = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_string());
    match from.split_once(' ') {
        Some((number, _)) if of(&from) == of(&to) => format!("{number} to {to}"),
        _ => format!("{from} to {to}"),
    }
}

/// A ratio: three digits, also where it is 1.
pub fn ratio(value: f64) -> String {
    if (0.9995..9.995).contains(&value) { format!("{value:.2}") } else { number(value) }
}

/// A ratio's interval.
pub fn interval(interval: &Interval) -> String {
    format!("{} to {}", ratio(interval.low), ratio(interval.high))
}

/// A percentile without needless digits: 50, 99.9, 99.99.
pub fn percentile(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Day and minute of so many milliseconds since 1970, UTC.
pub fn date(ms: i64) -> String {
    let (day, minute) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 60_000);
    let (y, m, d) = civil(day);
    format!("{y:04}-{m:02}-{d:02} {:02}:{:02}", minute / 60, minute % 60)
}

/// Year, month, day of a day since 1970, in the Gregorian calendar: eras of 400 years that begin on a first of March.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// What may stand in text and in attributes of a page. Control characters that no page may hold become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most so many characters, the last of them an ellipsis if some were cut.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Text cut at spaces, or where it must be, into lines of at most so many letters. At least one line.
pub fn lines(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut found = Vec::new();
    for part in text.split('\n') {
        let mut line = String::new();
        for word in part.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            let used = line.chars().count();
            if used > 0 && used + 1 + word.len() > width {
                found.push(std::mem::take(&mut line));
            } else if used > 0 {
                line.push(' ');
            }
            while word.len() > width {
                found.push(word.drain(..width).collect());
            }
            line.extend(word);
        }
        found.push(line);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_three_digits_and_a_unit() {
        let cases = [
            (nanos(301_400.0), "301 µs"),
            (nanos(4_213_000.0), "4.21 ms"),
            (nanos(999_600.0), "1.00 ms"),
            (nanos(0.0), "0 ns"),
            (nanos(61e9), "61 s"),
            (bytes(3_276_000_000.0), "3.28 GB"),
            (count(9_998.2), "9,998"),
            (count(1_234_567.0), "1.23 M"),
            (number(0.0123), "0.0123"),
            (number(-1234.0), "-1,234"),
            (number(1.0), "1"),
            (number(1_000_000.0), "1,000,000"),
            (value(Unit::BytesPerSecond, 812e6), "812 MB/s"),
            (percentile(99.9), "99.9"),
            (percentile(50.0), "50"),
            (range(Unit::Nanos, 1_090_000.0, 1_170_000.0), "1.09 to 1.17 ms"),
            (range(Unit::Nanos, 900_000.0, 1_170_000.0), "900 µs to 1.17 ms"),
            (range(Unit::Count, 0.5, 0.6), "0.500 to 0.600"),
            (range(Unit::Bytes, 11.0, 11.0), "11 B"),
            (ratio(1.0), "1.00"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(date(1_795_651_200_000 - 60_000), "2026-11-25 23:59");
        assert_eq!(date(-60_000), "1969-12-31 23:59");
    }

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(escape("<script>\"a\" & 'b'\u{1}"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}");
        assert_eq!(shortened("kafka", 5), "kafka");
        assert_eq!(shortened("redpanda", 5), "redp…");
    }

    #[test]
    fn lines_are_cut_at_spaces_and_long_words_where_they_must_be() {
        assert_eq!(lines("a bc def", 4), ["a bc", "def"]);
        assert_eq!(lines("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(lines("", 4), [""]);
        assert_eq!(lines("a\nb", 4), ["a", "b"]);
    }
}
