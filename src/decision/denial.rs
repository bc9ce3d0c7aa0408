//! The denials, and one table of their properties.

#![forbid(unsafe_code)]

use crate::decision::advice;
use crate::request::credential::Source;

/// The properties of a denial.
#[derive(Clone, Copy)]
struct Row {
    /// The error code, which clients branch on and statistics use.
    code: &'static str,
    /// The HTTP status.
    status: u16,
    /// The gRPC status.
    grpc_status: &'static str,
    /// The error code of the Connect protocol.
    connect_code: &'static str,
    /// The error in `www-authenticate`, if it names one.
    auth_error: Option<&'static str>,
    /// The default message. `{service_name}` stands for the name of the service, and `{place}` for
    /// where the key belongs.
    message: &'static str,
    /// The message's name in the configuration, if it is not the code.
    message_name: Option<&'static str>,
}

/// The client needs another credential.
const UNAUTHENTICATED: Row = Row {
    code: "",
    status: 401,
    grpc_status: "16",
    connect_code: "unauthenticated",
    auth_error: Some("invalid_token"),
    message: "",
    message_name: None,
};

/// The client has a key that is no longer valid.
const REVOKED: Row = Row {
    code: "api_key_revoked",
    message: "This API key has been revoked.",
    ..UNAUTHENTICATED
};

/// The client may not do this with its key.
const FORBIDDEN: Row = Row {
    status: 403,
    grpc_status: "7",
    connect_code: "permission_denied",
    auth_error: Some("insufficient_scope"),
    ..UNAUTHENTICATED
};

/// The client may try again later.
const UNAVAILABLE: Row = Row {
    status: 503,
    grpc_status: "14",
    connect_code: "unavailable",
    auth_error: None,
    ..UNAUTHENTICATED
};

macro_rules! denials {
    ($($(#[$doc:meta])* $denial:ident: $row:expr,)*) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Denial {
            $($(#[$doc])* $denial,)*
        }

        impl Denial {
            /// All denials, in the table's order.
            pub const ALL: [Self; [$(stringify!($denial),)*].len()] = [$(Self::$denial,)*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$denial => const { &$row },)*
                }
            }
        }
    };
}

denials! {
    /// No credential.
    Missing: Row {
        code: "api_key_missing",
        auth_error: None,
        message: "API key is missing. Include it in {place}.",
        ..UNAUTHENTICATED
    },
    /// More than one credential, or one that is not shaped like a key or has a wrong tag.
    Invalid: Row {
        code: "api_key_invalid",
        message: "Invalid API key format.",
        ..UNAUTHENTICATED
    },
    /// No record, or a record of another environment: deliberately the same.
    NotFound: Row {
        code: "api_key_not_found",
        message: "The provided API key was not found. Verify the key in your {service_name} dashboard.",
        ..UNAUTHENTICATED
    },
    /// A revoked record.
    Revoked: REVOKED,
    /// An expired record; clients get the same code as for a revoked one.
    Expired: Row {
        message: "This API key has expired.",
        message_name: Some("api_key_expired"),
        ..REVOKED
    },
    /// The key may not call this path.
    EndpointRestricted: Row {
        code: "endpoint_restricted",
        message: "This API key is not permitted to call this endpoint.",
        ..FORBIDDEN
    },
    /// No verdict.
    Internal: Row {
        code: "internal_error",
        message: "Something went wrong on our end. Please try again.",
        ..UNAVAILABLE
    },
}

impl Denial {
    /// Returns the code that clients branch on. Denials with the same code are counted as one.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// Returns the HTTP status.
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// Returns the gRPC status.
    pub const fn grpc_status(self) -> &'static str {
        self.row().grpc_status
    }

    /// Returns the error code of the Connect protocol.
    pub const fn connect_code(self) -> &'static str {
        self.row().connect_code
    }

    /// Returns the error in `www-authenticate`, if it names one.
    pub const fn auth_error(self) -> Option<&'static str> {
        self.row().auth_error
    }

    /// Returns the name of the message in the configuration.
    pub const fn message_name(self) -> &'static str {
        match self.row().message_name {
            Some(name) => name,
            None => self.code(),
        }
    }

    /// Returns true if the client may try again later, and is told when.
    pub const fn is_temporary(self) -> bool {
        self.status() == 503
    }
}

/// One value for each denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PerDenial<T>([T; Denial::ALL.len()]);

#[allow(
    clippy::indexing_slicing,
    reason = "there are as many values as denials, which the compiler knows too"
)]
impl<T> PerDenial<T> {
    pub(crate) fn new(value: impl FnMut(Denial) -> T) -> Self {
        Self(Denial::ALL.map(value))
    }

    pub(crate) fn of(&self, denial: Denial) -> &T {
        &self.0[denial as usize]
    }

    fn of_mut(&mut self, denial: Denial) -> &mut T {
        &mut self.0[denial as usize]
    }
}

/// The messages to clients, one for each denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages(PerDenial<String>);

impl Messages {
    /// Returns the default messages. `service_name` is the service whose dashboard they mention, and
    /// `sources` are where a key may be sent.
    pub fn new(service_name: &str, sources: &[Source]) -> Self {
        let place = advice::place(sources);
        Self(PerDenial::new(|denial| {
            let message = denial.row().message.replace("{place}", &place);
            message.replace("{service_name}", service_name)
        }))
    }

    /// Replaces a message by its name: an error code, or `api_key_expired`.
    ///
    /// # Errors
    /// Fails if no message has this name; the error lists the known names.
    pub fn set(&mut self, name: &str, message: String) -> Result<(), String> {
        let mut denials = Denial::ALL.iter();
        let Some(denial) = denials.find(|denial| denial.message_name() == name) else {
            let names = Denial::ALL.iter().map(|denial| denial.message_name());
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(format!("is not a known field; must be one of: {names}"));
        };
        *self.0.of_mut(*denial) = message;
        Ok(())
    }

    /// Returns the message of a denial.
    pub fn of(&self, denial: Denial) -> &str {
        self.0.of(denial)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::decision::advice::Challenge;
    use crate::decision::reply::ReplyRules;

    fn challenge(denial: Denial) -> Option<String> {
        Challenge::Standard.value(denial, "Bearer", "api")
    }

    #[test]
    fn denials_with_one_code_differ_in_their_messages_alone() {
        let pairs = Denial::ALL.into_iter();
        for (one, other) in pairs.flat_map(|one| Denial::ALL.map(|other| (one, other))) {
            if one.code() == other.code() {
                let rest = |denial: Denial| (denial.status(), challenge(denial));
                assert_eq!(rest(one), rest(other), "{one:?} {other:?}");
            }
            if one != other {
                assert_ne!(one.message_name(), other.message_name());
            }
        }
    }

    /// Returns the cells of an error's row on a page.
    fn documented(page: &str, code: &str) -> Vec<String> {
        let start = format!("| `{code}` | ");
        let mut lines = page.lines().filter(|line| line.starts_with(&start));
        let row = lines.next().unwrap_or_else(|| panic!("no row of {code}"));
        let cells = row.trim_matches(['|', ' ']).split(" | ");
        cells.map(str::to_owned).collect()
    }

    #[test]
    fn each_denial_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/replies.md");
        let page = std::fs::read_to_string(page).unwrap();
        let head =
            "| error | status | gRPC | message | `www-authenticate` |\n|---|---|---|---|---|\n";
        let (_, table) = page.split_once(head).unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let codes: BTreeSet<_> = Denial::ALL.map(Denial::code).into();
        assert_eq!(table.lines().count(), codes.len(), "{table}");
        let messages = ReplyRules::default().messages;
        for denial in Denial::ALL {
            let [_, status, grpc_status, message, documented] =
                &documented(table, denial.code())[..]
            else {
                panic!("{denial:?}");
            };
            assert_eq!(*status, denial.status().to_string(), "{denial:?}");
            assert_eq!(*grpc_status, denial.grpc_status(), "{denial:?}");
            // One code may have several messages.
            let mut said = message.split(" *Or:* ");
            assert!(said.any(|said| said == messages.of(denial)), "{denial:?}");
            let expected = match challenge(denial) {
                Some(expected) => format!("`{expected}`"),
                None => "none; `retry-after: 1`, and `retry_after` in the body".to_owned(),
            };
            assert_eq!(*documented, expected, "{denial:?}");
            let is_temporary = documented.contains("retry-after");
            assert_eq!(is_temporary, denial.is_temporary(), "{denial:?}");
        }
    }

    #[test]
    fn messages_stay_under_200_characters() {
        let header = "x".repeat(1000);
        let source = Source {
            header,
            scheme: None,
        };
        let messages = Messages::new(&"x".repeat(64), &[source]);
        for denial in Denial::ALL {
            assert!(messages.of(denial).chars().count() < 200, "{denial:?}");
        }
    }
}
