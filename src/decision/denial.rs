//! The denials: one table of everything that goes with each.

#![forbid(unsafe_code)]

/// Why a request is refused. Each denial is one row of the table of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No credential.
    Missing,
    /// More than one credential, or one that is not shaped like a key.
    Invalid,
    /// No record, or one of another environment: deliberately the same.
    NotFound,
    /// A revoked record.
    Revoked,
    /// An active record that has ended; to clients a kind of revoked.
    Expired,
    /// The key may not call this path.
    EndpointRestricted,
    /// No verdict.
    Internal,
}

/// What `www-authenticate` says (RFC 6750 section 3).
#[derive(Clone, Copy)]
pub(crate) enum Challenge {
    None,
    Plain,
    Error(&'static str),
}

pub(crate) struct Row {
    pub(crate) error: &'static str,
    pub(crate) status: u16,
    pub(crate) challenge: Challenge,
    /// The name of its message in the configuration.
    message: &'static str,
}

impl Denial {
    pub(crate) const ALL: [Self; 7] = [
        Self::Missing,
        Self::Invalid,
        Self::NotFound,
        Self::Revoked,
        Self::Expired,
        Self::EndpointRestricted,
        Self::Internal,
    ];

    pub(crate) const fn row(self) -> Row {
        let invalid_token = Challenge::Error("invalid_token");
        let (error, status, challenge) = match self {
            Self::Missing => ("api_key_missing", 401, Challenge::Plain),
            Self::Invalid => ("api_key_invalid", 401, invalid_token),
            Self::NotFound => ("api_key_not_found", 401, invalid_token),
            Self::Revoked | Self::Expired => ("api_key_revoked", 401, invalid_token),
            Self::EndpointRestricted => (
                "endpoint_restricted",
                403,
                Challenge::Error("insufficient_scope"),
            ),
            Self::Internal => ("internal_error", 503, Challenge::None),
        };
        let message = match self {
            Self::Expired => "api_key_expired",
            _ => error,
        };
        Row {
            error,
            status,
            challenge,
            message,
        }
    }

    /// The code that clients branch on.
    pub const fn error(self) -> &'static str {
        self.row().error
    }
}

/// The messages to clients, one for each denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages([(Denial, String); 7]);

impl Messages {
    /// The default messages, which name the service where they send a client to its dashboard.
    pub fn for_service(name: &str) -> Self {
        Self(Denial::ALL.map(|denial| {
            let message = match denial {
                Denial::Missing => {
                    "API key is missing. Include it in the Authorization header as \
                     'Bearer YOUR_KEY'."
                }
                Denial::Invalid => "Invalid API key format.",
                Denial::NotFound => {
                    return (
                        denial,
                        format!(
                            "The provided API key was not found. Verify the key in your {name} \
                             dashboard."
                        ),
                    );
                }
                Denial::Revoked => "This API key has been revoked.",
                Denial::Expired => "This API key has expired.",
                Denial::EndpointRestricted => {
                    "This API key is not permitted to call this endpoint."
                }
                Denial::Internal => "Something went wrong on our end. Please try again.",
            };
            (denial, message.to_owned())
        }))
    }

    /// Replaces a message by its name: an error code, or `api_key_expired`.
    ///
    /// # Errors
    /// When there is no message of that name; says which there are.
    pub fn set(&mut self, name: &str, message: String) -> Result<(), String> {
        let known = self.0.iter_mut().find(|(d, _)| d.row().message == name);
        let Some((_, old)) = known else {
            let names = Denial::ALL.map(|denial| denial.row().message).join(", ");
            return Err(format!("is unknown here; known are {names}"));
        };
        *old = message;
        Ok(())
    }

    pub(crate) fn of(&self, denial: Denial) -> &str {
        self.0
            .iter()
            .find(|(other, _)| *other == denial)
            .map_or("", |(_, message)| message)
    }
}
