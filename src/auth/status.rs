//! The status of a response.

#![forbid(unsafe_code)]

/// Parses a `:status`, which has three digits (RFC 9110 section 15).
pub(crate) fn parse_status(status: &[u8]) -> Option<u16> {
    let digits = Some(status).filter(|status| status.len() == 3)?;
    digits.iter().try_fold(0_u16, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(
            number
                .wrapping_mul(10)
                .wrapping_add(u16::try_from(digit).ok()?),
        )
    })
}
