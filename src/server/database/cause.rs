//! What an error of the database means, by its code.

use sqlx::migrate::MigrateError;

use super::Kind;

/// The cause of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It may pass by itself: the database is away, busy or full.
    Transient,
    /// The statement or its data is not valid. It would be refused again.
    Statement,
    /// An operator must change the set-up, as the text says.
    SetUp(&'static str),
    /// The data is damaged. An operator must act, as the text says.
    Damaged(&'static str),
}

const NOT_USABLE: Cause = Cause::SetUp(
    "make the file and its folder readable and writable for the user that runs this program, or set DATABASE_URL to \
     another file",
);
const OTHER_TABLES: Cause = Cause::SetUp(
    "its tables do not match this program: set DATABASE_URL to another database, or restore a backup",
);
const WRONG_URL: Cause = Cause::SetUp("check DATABASE_URL");

impl Cause {
    /// The cause of an error of a statement or a connection.
    pub(super) fn of(kind: Kind, error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                match kind {
                    Kind::Sqlite => Self::of_sqlite(&code),
                    Kind::Postgres => Self::of_postgres(&code),
                }
            }
            sqlx::Error::Configuration(_) => WRONG_URL,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
                Self::Statement
            }
            _ => Self::Transient,
        }
    }

    /// The cause of an error of a migration. Its statements are valid, so one is refused for what the database already has.
    pub(super) fn of_migration(kind: Kind, error: &MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                match Self::of(kind, error) {
                    Self::Statement => OTHER_TABLES,
                    cause => cause,
                }
            }
            _ => OTHER_TABLES,
        }
    }

    /// The last byte of a code is the primary code; <https://www.sqlite.org/rescode.html> lists them.
    fn of_sqlite(code: &str) -> Self {
        match code.parse::<i32>().unwrap_or_default() & 0xff {
            // Missing rights, a file that is read-only, a file that can't be opened.
            3 | 8 | 14 | 23 => NOT_USABLE,
            // An error in SQL, a value that is too large, a violated constraint, a wrong type, a wrong parameter.
            1 | 18 | 19 | 20 | 25 => Self::Statement,
            11 => Self::Damaged("stop the program and restore a backup, or set DATABASE_URL to another file"),
            26 => Self::Damaged("set DATABASE_URL to another file, or restore a backup"),
            _ => Self::Transient,
        }
    }

    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html> lists the codes.
    fn of_postgres(code: &str) -> Self {
        match code {
            "3D000" => Self::SetUp("create that database, or set DATABASE_URL to another one"),
            "42501" | "3F000" => {
                Self::SetUp("let the user in DATABASE_URL create tables and use them, or set another user")
            }
            "XX001" | "XX002" => Self::Damaged("repair it or restore a backup"),
            // A value that does not fit, a violated constraint, an error in SQL.
            code if ["22", "23", "42"].iter().any(|class| code.starts_with(class)) => Self::Statement,
            code if code.starts_with("28") => Self::SetUp("check the user and the password in DATABASE_URL"),
            _ => Self::Transient,
        }
    }
}

/// Whether SQLite has waited in vain for another writer.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else { return false };
    refusal.code().unwrap_or_default().parse::<i32>().unwrap_or_default() & 0xff == 5
}

/// The text of an error, without the prefix of the library.
pub(super) fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refusal) => refusal.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_have_the_cause_of_their_primary_code() {
        let causes = |codes: &[&str]| codes.iter().map(|code| Cause::of_sqlite(code)).collect::<Vec<_>>();
        assert!(causes(&["8", "264", "1032", "14", "526"]).iter().all(|cause| *cause == NOT_USABLE));
        assert!(causes(&["11", "267", "26"]).iter().all(|cause| matches!(cause, Cause::Damaged(_))));
        assert_eq!(causes(&["1", "1555"]), [Cause::Statement; 2]);
        // Busy, busy after a snapshot, full, an error of the disk, no code.
        assert_eq!(causes(&["5", "517", "13", "778", ""]), [Cause::Transient; 5]);
    }

    #[test]
    fn a_postgres_that_starts_or_is_full_is_not_a_wrong_set_up() {
        for code in ["57P03", "53300", "53100", "40P01", "57014", "25006", "08006"] {
            assert_eq!(Cause::of_postgres(code), Cause::Transient, "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501"] {
            assert!(matches!(Cause::of_postgres(code), Cause::SetUp(_)), "{code}");
        }
    }
}
