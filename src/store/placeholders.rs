//! The text of placeholders, for statements that sea-orm cannot say.

use sea_orm::DbBackend;

/// Places for so many rows of so many columns: `(?, ?), (?, ?)`, numbered as `$1` where the database wants that.
pub(super) fn placeholders(backend: DbBackend, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows.saturating_mul(columns).saturating_mul(6));
    let mut number = 0usize;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                text.push_str(", ");
            }
            // Each number is a name to SQLite, to be found among all others.
            if backend == DbBackend::Sqlite {
                text.push('?');
            } else {
                number = number.saturating_add(1);
                text.push('$');
                text.push_str(&number.to_string());
            }
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(DbBackend::Postgres, 2, 2), "($1, $2), ($3, $4)");
        assert_eq!(placeholders(DbBackend::Sqlite, 2, 2), "(?, ?), (?, ?)");
        assert_eq!(placeholders(DbBackend::Postgres, 1, 1), "($1)");
        assert_eq!(placeholders(DbBackend::Postgres, 0, 3), "");
    }
}
