//! The chart of the last days, drawn as SVG, beside a table with the same numbers.

use crate::admin::{Counts, DayCounts};

/// Units of the drawing.
const HEIGHT: u64 = 120;
const COLUMN: u64 = 80;
const BAR: u64 = 28;
const GAP: u64 = 6;
/// Where the first bar of a day begins in its column.
const MARGIN: u64 = 9;

/// A chart, and its numbers.
#[derive(Debug)]
pub struct Chart {
    pub width: u64,
    pub height: u64,
    pub days: Vec<ChartDay>,
    /// The largest number.
    pub most: u64,
    pub counted_until: Option<String>,
}

/// One day.
#[derive(Debug)]
pub struct ChartDay {
    pub counts: DayCounts,
    /// The middle of the day's column.
    pub middle: u64,
    pub issued: Bar,
    pub refused: Bar,
}

/// A bar, from its upper end downwards.
#[derive(Debug, PartialEq, Eq)]
pub struct Bar {
    pub x: u64,
    pub y: u64,
    pub width: u64,
    pub height: u64,
}

impl Bar {
    fn new(x: u64, count: u64, most: u64) -> Self {
        // One is seen beside a thousand.
        let least = u64::from(count > 0).saturating_mul(2);
        let height = count
            .saturating_mul(HEIGHT)
            .checked_div(most)
            .unwrap_or_default();
        let height = height.max(least);
        Self {
            x,
            y: HEIGHT.saturating_sub(height),
            width: BAR,
            height,
        }
    }
}

/// What a day has in each of its two bars: what was done, and what was refused.
fn sums(day: &DayCounts) -> (u64, u64) {
    let done = day.issued.saturating_add(day.published);
    (done, day.refused.saturating_add(day.publication_refused))
}

impl From<Counts> for Chart {
    fn from(counts: Counts) -> Self {
        let sums_of_days = counts.days.iter().map(sums);
        let most = sums_of_days.map(|(done, refused)| done.max(refused)).max();
        let most = most.unwrap_or_default();
        let days = (0..).zip(counts.days).map(|(number, counts): (u64, _)| {
            let left = number.saturating_mul(COLUMN);
            let (done, refused) = sums(&counts);
            let first = left.saturating_add(MARGIN);
            let second = first.saturating_add(BAR).saturating_add(GAP);
            ChartDay {
                issued: Bar::new(first, done, most),
                refused: Bar::new(second, refused, most),
                middle: left.saturating_add(COLUMN.div_euclid(2)),
                counts,
            }
        });
        let days: Vec<ChartDay> = days.collect();
        let columns = u64::try_from(days.len()).unwrap_or_default();
        Self {
            width: columns.saturating_mul(COLUMN),
            height: HEIGHT,
            days,
            most,
            counted_until: counts.counted_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share_of_the_largest_number() {
        let day = |issued, refused| DayCounts {
            day: "2027-01-31".to_owned(),
            issued,
            refused,
            ..DayCounts::default()
        };
        let chart = Chart::from(Counts {
            days: vec![day(0, 0), day(1000, 1), day(250, 500)],
            counted_until: None,
        });
        assert_eq!((chart.width, chart.most), (240, 1000));
        let heights: Vec<(u64, u64)> = chart
            .days
            .iter()
            .map(|day| (day.issued.height, day.refused.height))
            .collect();
        assert_eq!(heights, [(0, 0), (120, 2), (30, 60)]);
        let second = &chart.days[1];
        assert_eq!(
            (second.issued.x, second.refused.x, second.middle),
            (89, 123, 120)
        );
        assert_eq!((second.issued.y, second.refused.y), (0, 118));
    }

    #[test]
    fn a_week_without_events_has_no_bars() {
        let days = vec![DayCounts::default(); 7];
        let chart = Chart::from(Counts {
            days,
            counted_until: None,
        });
        assert!(
            chart
                .days
                .iter()
                .all(|day| day.issued.height == 0 && day.refused.height == 0)
        );
    }
}
