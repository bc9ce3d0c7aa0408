//! The macro that turns the list of a key's columns into the code that uses them.

use sqlx::error::BoxDynError;

use crate::timestamp::Timestamp;

/// Generates [`Record`](super::Record) from the listed columns, and the code that reads, writes and
/// shows them.
///
/// Each entry is `COLUMN: TYPE => [SHOWN, …]`, in the order in which people see it. `SHOWN` is
/// `"LABEL" FIELD: TYPE`. Its value is the column of that name, or what `= FUNCTION` returns for the
/// record.
macro_rules! record {
    ($(
        $column:ident: $type:ty => [$(
            $(#[$meta:meta])*
            $label:literal $field:ident: $field_type:ty $(= $function:path)?
        ),* $(,)?]
    ),+ $(,)?) => {
        /// Everything that is stored about a key, except its hash.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct Record {
            $(pub(crate) $column: $type,)+
        }

        /// The columns of a [`Record`], each preceded by a comma.
        macro_rules! columns {
            () => {
                concat!($(", ", stringify!($column)),+)
            };
        }
        pub(crate) use columns;

        /// A row of these columns, preceded by the one that identifies the key.
        #[derive(Deserialize, FromRow)]
        pub(crate) struct Row<K> {
            #[sqlx(rename = "key_hash")]
            pub(crate) key: K,
            $($column: <$type as Column>::Stored,)+
        }

        impl<K> Row<K> {
            /// Converts the row into a record.
            ///
            /// # Errors
            /// When the database holds a value that no record can have.
            pub(crate) fn record(self) -> sqlx::Result<Record> {
                Ok(Record {
                    $($column: Column::read(self.$column).map_err(|source| {
                        let index = stringify!($column).to_owned();
                        sqlx::Error::ColumnDecode { index, source }
                    })?,)+
                })
            }
        }

        impl Record {
            /// Adds the values of all columns to an `INSERT`.
            pub(crate) fn insert_into<DB>(
                &self,
                values: &mut Separated<'_, DB, &'static str>,
            ) -> sqlx::Result<()>
            where
                DB: Database,
                for<'v> String: Encode<'v, DB> + Type<DB>,
                for<'v> Option<String>: Encode<'v, DB> + Type<DB>,
                for<'v> i64: Encode<'v, DB> + Type<DB>,
                for<'v> Option<i64>: Encode<'v, DB> + Type<DB>,
            {
                $(values.push_bind(self.$column.stored().map_err(sqlx::Error::Encode)?);)+
                Ok(())
            }

            /// The labels that people see, in order.
            pub(crate) const LABELS: &[&str] = &[$($($label,)*)+];

            /// Returns the texts for these labels.
            pub(crate) fn texts(&self) -> Vec<String> {
                vec![$($(record!(@shown self $field $($function)?).text(),)*)+]
            }
        }

        /// A complete record.
        #[derive(Serialize)]
        pub(crate) struct RecordView {
            $($($(#[$meta])* $field: $field_type,)*)+
        }

        impl From<&Record> for RecordView {
            fn from(record: &Record) -> Self {
                Self {
                    $($($field: record!(@shown record $field $($function)?),)*)+
                }
            }
        }
    };
    (@shown $record:ident $field:ident) => {
        $record.$field.clone()
    };
    (@shown $record:ident $field:ident $function:path) => {
        $function($record)
    };
}
pub(super) use record;

/// A value of a record that the database can store.
pub(crate) trait Column: Sized {
    type Stored;

    /// Reads a stored value.
    ///
    /// # Errors
    /// When no record can have such a value.
    fn read(stored: Self::Stored) -> Result<Self, BoxDynError>;

    /// Returns the value to store.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn stored(&self) -> Result<Self::Stored, BoxDynError>;
}

impl Column for String {
    type Stored = Self;

    fn read(stored: Self) -> Result<Self, BoxDynError> {
        Ok(stored)
    }

    fn stored(&self) -> Result<Self, BoxDynError> {
        Ok(self.clone())
    }
}

/// Stored as seconds since 1970.
impl Column for Timestamp {
    type Stored = i64;

    fn read(stored: i64) -> Result<Self, BoxDynError> {
        Self::from_unix(stored).ok_or_else(|| "not a time".into())
    }

    fn stored(&self) -> Result<i64, BoxDynError> {
        Ok(self.unix())
    }
}

/// Stored as JSON.
impl Column for Vec<String> {
    type Stored = String;

    fn read(stored: String) -> Result<Self, BoxDynError> {
        Ok(serde_json::from_str(&stored)?)
    }

    fn stored(&self) -> Result<String, BoxDynError> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Stored as null if there is no value.
impl<T: Column> Column for Option<T> {
    type Stored = Option<T::Stored>;

    fn read(stored: Self::Stored) -> Result<Self, BoxDynError> {
        stored.map(T::read).transpose()
    }

    fn stored(&self) -> Result<Self::Stored, BoxDynError> {
        self.as_ref().map(T::stored).transpose()
    }
}

/// A value of a record, as people see it.
pub(super) trait Text {
    fn text(&self) -> String;
}

impl Text for String {
    fn text(&self) -> String {
        self.clone()
    }
}

impl Text for Timestamp {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Text for super::Status {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl<T: Text> Text for Option<T> {
    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "-".to_owned(), T::text)
    }
}

/// Endpoints.
impl Text for Option<Vec<String>> {
    fn text(&self) -> String {
        self.as_ref()
            .map_or_else(|| "every path".to_owned(), |paths| paths.join(" "))
    }
}
