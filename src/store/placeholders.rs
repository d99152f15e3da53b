//! Placeholders of multi-row statements that sea-orm's query builder cannot express.

use sea_orm::DbBackend;

/// Placeholders for the rows of an insertion: `(?, ?), (?, ?)` for SQLite, `($1, $2), ($3, $4)` for
/// PostgreSQL.
pub(super) fn placeholders(backend: DbBackend, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows.saturating_mul(columns).saturating_mul(6));
    let mut number = 0usize;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                text.push_str(", ");
            }
            // SQLite looks numbered parameters (`?12`) up by name in linear time; plain `?` is
            // faster.
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
    fn sql_placeholders_are_numbered_for_postgres_and_plain_for_sqlite() {
        assert_eq!(
            placeholders(DbBackend::Postgres, 2, 2),
            "($1, $2), ($3, $4)"
        );
        assert_eq!(placeholders(DbBackend::Sqlite, 2, 2), "(?, ?), (?, ?)");
        assert_eq!(placeholders(DbBackend::Postgres, 1, 1), "($1)");
        assert_eq!(placeholders(DbBackend::Postgres, 0, 3), "");
    }
}
